use super::*;

#[test]
fn every_word_leads_back_to_its_severity() {
    for severity in Severity::ALL {
        assert_eq!(Severity::from_word(severity.as_word()), Some(severity));
        assert_eq!(severity.as_key(), severity.as_word().to_lowercase());
    }
    assert_eq!(Severity::from_word("TOTAL"), None);
}

#[test]
fn absent_count_differs_from_zero_and_sums_never_overflow() {
    let mut counts: SeverityCounts = [(Severity::High, 0)].into_iter().collect();
    assert_eq!(counts.reported(Severity::High), Some(0));
    assert_eq!(counts.reported(Severity::Critical), None);
    assert_eq!(counts.worst(), None);
    counts.add(Severity::High, u64::MAX);
    counts.add(Severity::High, 1);
    assert_eq!(counts.of(Severity::High), u64::MAX);
    assert_eq!(counts.worst(), Some(Severity::High));
}

#[test]
fn higher_number_of_summary_and_list_counts() {
    let summary: SeverityCounts =
        [(Severity::Critical, 1), (Severity::High, 2)].into_iter().collect();
    let list: SeverityCounts = [(Severity::High, 5), (Severity::Low, 1)].into_iter().collect();
    let both = summary.at_least(&list);
    assert_eq!(
        both.iter().collect::<Vec<_>>(),
        [(Severity::Critical, 1), (Severity::High, 5), (Severity::Low, 1)]
    );
}
