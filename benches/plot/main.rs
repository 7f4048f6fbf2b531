//! Draws throughput and latency by `queue.max_in_flight`, from what the load test wrote with `--json`.
//!
//! `cargo run -p bench-plot -- load.json docs/concurrency.svg`. `concurrency.json` beside this file
//! has the figures of the run that docs/performance.md shows.

use std::error::Error;
use std::fs;
use std::process::ExitCode;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Deserialize;

/// Width of the drawing, and height of each chart.
const SIZE: (u32, u32) = (800, 340);
const TITLE: (&str, i32) = ("sans-serif", 20);
const CONDITIONS: (&str, i32) = ("sans-serif", 14);
const NUMBERS: (&str, i32) = ("sans-serif", 15);

type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The part of the load test's report that is drawn.
#[derive(Debug, Deserialize)]
struct Report {
    processor: String,
    measurements: Vec<Measurement>,
}

/// One measurement. Only those of one number in flight are drawn.
#[derive(Debug, Deserialize)]
struct Measurement {
    in_flight: Option<u32>,
    per_second: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// A line of a chart: points from left to right, each the binary logarithm of the number in flight
/// and a value.
struct Line {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
    /// Whether the numbers stand above the line, else below it.
    above: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("plot: draws FROM, a report of the load test, to the SVG file TO: plot FROM TO");
        return ExitCode::from(2);
    };
    match plot(from, to) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plot: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plot(from: &str, to: &str) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(from).map_err(|error| format!("cannot read {from}: {error}"))?;
    let report = serde_json::from_str(&text)
        .map_err(|error| format!("{from} is no report of the load test: {error}"))?;
    let svg = drawn(&report)?;
    fs::write(to, svg).map_err(|error| format!("cannot write {to}: {error}").into())
}

/// Returns two charts below each other, each with one vertical axis.
fn drawn(report: &Report) -> Result<String, Box<dyn Error>> {
    let points = |value: fn(&Measurement) -> Option<f64>| -> Vec<_> {
        let of = |one: &Measurement| Some((f64::from(one.in_flight?).log2(), value(one)?));
        report.measurements.iter().filter_map(of).collect()
    };
    let throughput = points(|one| one.per_second);
    if throughput.is_empty() {
        return Err("the report has no measurement by in_flight".into());
    }
    let machine = format!("one worker, one core ({}), 10 ms an answer of AWS", report.processor);
    let mut svg = String::new();
    {
        let (width, height) = SIZE;
        let root = SVGBackend::with_string(&mut svg, (width, 2 * height)).into_drawing_area();
        root.fill(&WHITE)?;
        let (upper, lower) = root.split_vertically(height);
        chart(
            &upper,
            "Messages a second, by queue.max_in_flight",
            &format!("{machine}; mix: 90 % clean, 8 % violating, 1 % index, 1 % poison"),
            &[Line { name: "", colour: BLUE, points: throughput, above: true }],
        )?;
        chart(
            &lower,
            "Milliseconds from visible to untagged, by queue.max_in_flight",
            &format!("{machine}, six of them one after the other; clean messages besides"),
            &[
                Line { name: "p99", colour: RED, points: points(|one| one.p99_ms), above: true },
                Line { name: "p50", colour: BLUE, points: points(|one| one.p50_ms), above: false },
            ],
        )?;
        root.present()?;
    }
    Ok(svg)
}

fn chart(
    area: &Drawing<'_>,
    title: &str,
    conditions: &str,
    lines: &[Line],
) -> Result<(), Box<dyn Error>> {
    let text = |(family, size): (&'static str, i32)| (family, size).into_font().color(&BLACK);
    let (head, body) = area.split_vertically(58);
    head.draw(&Text::new(title.to_owned(), (16, 12), text(TITLE)))?;
    head.draw(&Text::new(conditions.to_owned(), (16, 38), text(CONDITIONS)))?;

    let all = || lines.iter().flat_map(|line| &line.points);
    let right = all().map(|(x, _)| *x).fold(1.0, f64::max);
    let top = all().map(|(_, y)| *y).fold(1.0, f64::max) * 1.2;
    let mut chart = ChartBuilder::on(&body)
        .margin_right(32)
        .x_label_area_size(32)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.2..right + 0.2, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.15))
        .label_style(text(NUMBERS))
        .x_labels(10)
        .x_label_formatter(&|x| number(x.exp2()))
        .y_labels(6)
        .y_label_formatter(&|y| number(*y))
        .draw()?;
    for &Line { name, colour, ref points, above } in lines {
        let series = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        chart.draw_series(series.point_size(4))?;
        let (side, away, name_away) =
            if above { (VPos::Bottom, -8, -16) } else { (VPos::Top, 8, 16) };
        // A line that climbs would cross a number right above its point.
        let aside = if name.is_empty() { -12 } else { 0 };
        let style = text(NUMBERS).color(&colour).pos(Pos::new(HPos::Center, side));
        chart.draw_series(points.iter().map(|&(x, y)| {
            EmptyElement::at((x, y)) + Text::new(number(y), (aside, away), style.clone())
        }))?;
        let beside = text(NUMBERS).color(&colour).pos(Pos::new(HPos::Left, VPos::Center));
        let last = points.last().filter(|_| !name.is_empty());
        chart.draw_series(last.map(|&(x, y)| {
            EmptyElement::at((x, y)) + Text::new(name.to_owned(), (16, name_away), beside.clone())
        }))?;
    }
    Ok(())
}

/// Returns a whole number with its thousands apart, for people.
fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let from_the_end = |at: usize| digits.len().saturating_sub(at);
    let mut shown = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && from_the_end(at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> Result<String, Box<dyn Error>> {
        drawn(&serde_json::from_str(include_str!("concurrency.json"))?)
    }

    #[test]
    fn drawing_in_the_docs_is_of_the_recorded_figures() -> Result<(), Box<dyn Error>> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/concurrency.svg");
        assert!(
            fs::read_to_string(path)? == recorded()?,
            "cargo run -p bench-plot -- benches/plot/concurrency.json docs/concurrency.svg"
        );
        Ok(())
    }

    #[test]
    fn every_figure_and_the_conditions_can_be_read() -> Result<(), Box<dyn Error>> {
        let svg = recorded()?;
        for text in ["32", "1,239", "6,965", "119", "157", "10 ms an answer of AWS", "AMD EPYC"] {
            assert!(svg.contains(text), "{text} is missing");
        }
        Ok(())
    }

    #[test]
    fn report_without_the_measurements_is_refused() {
        let report = Report { processor: String::new(), measurements: Vec::new() };
        assert!(drawn(&report).is_err());
    }

    #[test]
    fn thousands_are_apart() {
        let shown = [0.0, 32.0, 999.6, 6965.0, 1_234_567.0].map(number);
        assert_eq!(shown, ["0", "32", "1,000", "6,965", "1,234,567"]);
    }
}
