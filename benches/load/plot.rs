//! Throughput and latency against concurrency, drawn.

use plotters::prelude::*;

use crate::report::Report;

/// An SVG of what was measured of `max_in_flight`.
pub(crate) fn concurrency(report: &Report) -> String {
    let points: Vec<_> = report
        .measurements
        .iter()
        .filter_map(|one| Some((one.in_flight? as f64, one.per_second?, one.p50_ms?, one.p99_ms?)))
        .collect();
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (800, 420)).into_drawing_area();
        draw(&root, &points).expect("a drawing");
        root.present().expect("a drawing");
    }
    svg
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(
    root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    points: &[(f64, f64, f64, f64)],
) -> Drawn {
    root.fill(&WHITE)?;
    let most = |of: fn(&(f64, f64, f64, f64)) -> f64| points.iter().map(of).fold(1.0, f64::max);
    let in_flight = (1.0..most(|point| point.0)).log_scale();
    let mut chart = ChartBuilder::on(root)
        .caption("Throughput and latency by queue.max_in_flight", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .right_y_label_area_size(60)
        .build_cartesian_2d(in_flight.clone(), 0.0..most(|point| point.1) * 1.1)?
        .set_secondary_coord(in_flight, 0.0..most(|point| point.3) * 1.3);
    chart
        .configure_mesh()
        .x_desc("queue.max_in_flight")
        .y_desc("messages a second")
        .light_line_style(TRANSPARENT)
        .draw()?;
    chart.configure_secondary_axes().y_desc("ms from visible to untagged").draw()?;
    let line = |colour: RGBColor| {
        move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
    };
    chart
        .draw_series(
            LineSeries::new(points.iter().map(|p| (p.0, p.1)), BLUE.stroke_width(2)).point_size(3),
        )?
        .label("messages a second")
        .legend(line(BLUE));
    let p50: Vec<_> = points.iter().map(|p| (p.0, p.2)).collect();
    let p99: Vec<_> = points.iter().map(|p| (p.0, p.3)).collect();
    for (latencies, colour, label) in [(p50, GREEN, "latency, p50"), (p99, RED, "latency, p99")] {
        chart
            .draw_secondary_series(LineSeries::new(latencies, colour.stroke_width(2)))?
            .label(label)
            .legend(line(colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    Ok(())
}
