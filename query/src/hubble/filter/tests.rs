use prost::Message as _;

use super::{Event, Shown, lower};
use crate::hubble::proto::flow::{EventTypeFilter, FlowFilter};

fn filter(types: &[i32]) -> FlowFilter {
    let event_type =
        types.iter().map(|number| EventTypeFilter { r#type: *number, ..Default::default() });
    FlowFilter { event_type: event_type.collect(), ..FlowFilter::default() }
}

#[test]
fn a_row_is_shown_as_the_event_that_is_wanted() {
    let shown = |whitelist: &[&[i32]]| {
        Shown::of(&whitelist.iter().map(|types| filter(types)).collect::<Vec<_>>())
    };
    for (whitelist, deny, first, later) in [
        (&[][..], Event::Verdict, Event::Verdict, Event::Trace),
        (&[&[][..]][..], Event::Verdict, Event::Verdict, Event::Trace),
        (&[&[1, 5][..]][..], Event::Verdict, Event::Verdict, Event::Trace),
        (&[&[1][..], &[4][..]][..], Event::Drop, Event::Trace, Event::Trace),
        (&[&[1][..], &[0][..]][..], Event::Verdict, Event::Verdict, Event::Trace),
    ] {
        let shown = shown(whitelist);
        assert_eq!(shown.event(true, "default_deny", 1), deny, "{whitelist:?}");
        assert_eq!(shown.event(false, "policy", 1), first, "{whitelist:?}");
        assert_eq!(shown.event(false, "policy", 0), later, "{whitelist:?}");
        // No policy said so.
        assert_eq!(shown.event(true, "spoofed_source", 1), Event::Drop, "{whitelist:?}");
        assert_eq!(shown.event(false, "no_policy", 1), Event::Trace, "{whitelist:?}");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    // Field 77, which nobody has, behind one that is good.
    let good = FlowFilter { uuid: vec!["a".into()], ..FlowFilter::default() }.encode_to_vec();
    let strange = [good.as_slice(), &[0xe8, 0x04, 1]].concat();
    assert!(lower(std::slice::from_ref(&good), &[]).is_ok());
    for lists in [(vec![strange.clone()], vec![]), (vec![good.clone()], vec![strange])] {
        let error = lower(&lists.0, &lists.1).unwrap_err().to_string();
        assert!(error.starts_with("field 77 of FlowFilter is not known"), "{error}");
    }
    let torn = good[..good.len() - 1].to_vec();
    let error = lower(&[torn], &[]).unwrap_err().to_string();
    assert!(error.starts_with("a FlowFilter cannot be read"), "{error}");
}

#[test]
fn many_filters_make_a_tree_of_little_depth() {
    let port =
        |port: usize| FlowFilter { source_port: vec![port.to_string()], ..FlowFilter::default() };
    let filters: Vec<Vec<u8>> = (0..128).map(|number| port(number).encode_to_vec()).collect();
    let text = lower(&filters, &[]).unwrap().expr.unwrap().to_string();
    assert_eq!(text.matches("source_port = ").count(), 128);
    assert!(lower(&filters, &filters[..1]).unwrap_err().to_string().contains("128 are allowed"));
}
