use arrow::array::DictionaryArray;
use arrow::array::{Int32Array, StringArray};
use arrow::datatypes::Field;
use arrow_flight::FlightDescriptor;
use proptest::prelude::*;
use weir_flow::Flow;
use weir_flow::schema::FlowBuilder;

use super::*;
use crate::tests::client::{encode, id};
use crate::tests::flows::flow;

/// With plain lists and maps.
fn plain(rows: u64) -> RecordBatch {
    let mut builder = FlowBuilder::default();
    (0..rows).for_each(|row| builder.append(&flow(row)));
    builder.finish()
}

/// As collectors send them.
fn stream(rows: u64) -> Vec<FlightData> {
    encode(&[(id(1), columns::pack(&plain(rows)).unwrap())])
}

fn read(messages: &[FlightData]) -> Result<Vec<Message>, DecodeError> {
    let mut decoder = Decoder::default();
    messages.iter().map(|message| decoder.read(message)).collect()
}

fn error(messages: &[FlightData]) -> String {
    read(messages).unwrap_err().to_string()
}

#[test]
fn a_stream_round_trips() {
    let messages = read(&stream(20)).unwrap();
    let Some(Message::Batch(received)) = messages.last() else { panic!("no batch") };
    assert_eq!(received.id.sequence, 1);
    assert!(received.bytes > 1000);
    assert_eq!(Flow::read(&received.batch).unwrap(), (0..20).map(flow).collect::<Vec<_>>());
}

#[test]
fn lists_may_come_plain_too() {
    let (sent, plain) = (stream(20), encode(&[(id(1), plain(20))]));
    for messages in [&sent, &plain] {
        let messages = read(messages).unwrap();
        let Some(Message::Batch(received)) = messages.last() else { panic!("no batch") };
        assert_eq!(received.batch.schema(), sent_schema());
        assert_eq!(Flow::read(&received.batch).unwrap(), (0..20).map(flow).collect::<Vec<_>>());
    }
}

#[test]
fn a_list_hidden_in_a_dictionary_may_not_be_null() {
    let batch = columns::pack(&plain(1)).unwrap();
    let at = batch.schema().index_of("source_labels").unwrap();
    let mut columns = batch.columns().to_vec();
    let values = columns[at].as_dictionary::<Int32Type>().values().data_type().clone();
    let nothing = arrow::array::new_null_array(&values, 1);
    columns[at] = Arc::new(DictionaryArray::new(Int32Array::from(vec![0]), nothing));
    let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    let message = error(&encode(&[(id(1), batch)]));
    assert!(message.contains("column source_labels holds a null"), "{message}");
}

/// Dictionaries of an earlier batch stay in force, and each batch has all it needs.
#[test]
fn a_batch_can_be_read_again_by_itself() {
    let both = columns::pack(&plain(20)).unwrap();
    let stream = encode(&[(id(1), both.slice(0, 10)), (id(2), both.slice(10, 10))]);
    let dictionaries = |messages: &[FlightData]| messages.len() - 3;
    let read_stream = read(&stream).unwrap();
    let Some(Message::Batch(second)) = read_stream.last() else { panic!("no batch") };
    assert!(dictionaries(&stream) < second.messages.len(), "nothing was shared");
    let last = second.messages.len() - 1;
    let alone: Vec<FlightData> = (0..)
        .zip(&second.messages)
        .map(|(index, message)| FlightData {
            flight_descriptor: stream[0].flight_descriptor.clone().filter(|_| index == 0),
            data_header: message.header.as_slice().to_vec().into(),
            data_body: message.body.as_slice().to_vec().into(),
            app_metadata: if index == last {
                second.metadata.as_slice().to_vec().into()
            } else {
                Default::default()
            },
        })
        .collect();
    let again = read(&alone).unwrap();
    let Some(Message::Batch(again)) = again.last() else { panic!("no batch") };
    assert_eq!((&again.id, &again.batch), (&second.id, &second.batch));
}

#[test]
fn losses_are_checked() {
    let loss = LossEntry {
        from_ns: 1,
        to_ns: 2,
        stage: "kernel".into(),
        verdict: "deny".into(),
        unit: "verdicts".into(),
        count: 3,
        reason: "ring full".into(),
    };
    let with = |losses: Vec<LossEntry>| {
        let mut messages = stream(1);
        let last = messages.len() - 1;
        messages[last].app_metadata = wire::encode(&BatchId { losses, ..id(1) });
        read(&messages)
    };
    let read_back = with(vec![loss.clone()]).unwrap();
    let Some(Message::Batch(received)) = read_back.last() else { panic!("no batch") };
    assert_eq!(received.id.losses, std::slice::from_ref(&loss));
    let refused = |losses| with(losses).unwrap_err().to_string();
    assert!(refused(vec![loss.clone(); MAX_LOSSES + 1]).contains("1001 entries"));
    assert!(refused(vec![LossEntry { to_ns: 0, ..loss.clone() }]).contains("no interval"));
    assert!(refused(vec![LossEntry { stage: String::new(), ..loss.clone() }]).contains("no stage"));
    let long = LossEntry { reason: "x".repeat(MAX_NAME_BYTES + 1), ..loss.clone() };
    assert!(refused(vec![long]).contains("a text"));
    let heartbeat = FlightData {
        flight_descriptor: Some(FlightDescriptor::new_path(vec![FLOWS.into()])),
        app_metadata: wire::encode(&BatchId { losses: vec![loss], ..id(0) }),
        ..FlightData::default()
    };
    assert!(error(&[heartbeat]).contains("come with a batch"));
}

#[test]
fn a_heartbeat_needs_no_schema() {
    let heartbeat = FlightData {
        flight_descriptor: Some(FlightDescriptor::new_path(vec![FLOWS.into()])),
        app_metadata: wire::encode(&id(0)),
        ..FlightData::default()
    };
    let messages = read(&[heartbeat]).unwrap();
    assert!(matches!(&messages[..], [Message::Heartbeat(_)]), "{messages:?}");
}

#[test]
fn the_descriptor_is_checked() {
    let mut messages = stream(1);
    messages[0].flight_descriptor = None;
    assert!(error(&messages).contains("it is absent"));
    messages[0].flight_descriptor = Some(FlightDescriptor::new_path(vec!["metrics".into()]));
    assert!(error(&messages).contains("[\"metrics\"]"));
}

#[test]
fn the_first_differing_column_is_named() {
    let schema = |edit: fn(&mut Vec<Field>)| {
        let mut fields: Vec<Field> =
            stored_schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        edit(&mut fields);
        check_schema(Table::Flows, &Schema::new(fields)).unwrap_err().to_string()
    };
    let message = schema(|fields| drop(fields.remove(3)));
    assert!(message.contains("column 4 is direction, expected node"), "{message}");
    let message = schema(|fields| fields[1] = Field::new("end_time", DataType::Int64, false));
    assert!(message.contains("column end_time is of type Int64"), "{message}");
    let message = schema(|fields| fields[1].set_nullable(true));
    assert!(message.contains("column end_time may not be nullable"), "{message}");
    let message = schema(|fields| drop(fields.pop()));
    assert!(message.contains("(state) is missing"), "{message}");
    let message = schema(|fields| fields.push(Field::new("x", DataType::Int64, true)));
    assert!(message.contains("column x is not of this table"), "{message}");
}

#[test]
fn ids_are_checked() {
    let mut messages = stream(1);
    let last = messages.len() - 1;
    messages[last].app_metadata = "{}".into();
    assert!(error(&messages).contains("missing field"));
    messages[last].app_metadata = wire::encode(&id(0));
    assert!(error(&messages).contains("count from 1"));
    messages[last].app_metadata = wire::encode(&BatchId { collector: String::new(), ..id(1) });
    assert!(error(&messages).contains("has no name"));
    messages[last].app_metadata = vec![b' '; MAX_METADATA_BYTES + 1].into();
    assert!(error(&messages).contains("at most"));
}

#[test]
fn rows_before_the_schema_are_refused() {
    let mut messages = stream(1);
    let descriptor = messages.remove(0).flight_descriptor;
    messages[0].flight_descriptor = descriptor;
    assert!(error(&messages).contains("has to be the schema"));
}

#[test]
fn a_null_hidden_in_a_dictionary_is_refused() {
    let mut builder = FlowBuilder::default();
    builder.append(&flow(1));
    let batch = builder.finish();
    let mut columns = batch.columns().to_vec();
    let values = Arc::new(StringArray::from(vec![None::<&str>]));
    columns[2] = Arc::new(DictionaryArray::new(Int32Array::from(vec![0]), values));
    let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    let message = error(&encode(&[(id(1), batch)]));
    assert!(message.contains("column cluster holds a null"), "{message}");
}

/// Every way to cut the body of the dictionaries and of the rows.
#[test]
fn a_body_cut_anywhere_is_refused() {
    let messages = stream(3);
    for (index, message) in messages.iter().enumerate() {
        let body = message.data_body.len();
        for length in 0..body {
            let mut cut = messages[..=index].to_vec();
            cut[index].data_body.truncate(length);
            // The padding at the end may go without harm.
            if let Err(error) = read(&cut) {
                assert!(matches!(error, DecodeError::Damaged(_)), "{index} {length}: {error}");
            } else {
                assert!(body - length < 64, "{index}: {length} of {body} bytes were enough");
            }
        }
        for length in 1..message.data_header.len() {
            let mut cut = messages[..=index].to_vec();
            cut[index].data_header.truncate(length);
            let _ = read(&cut);
        }
    }
}

proptest! {
    /// Bytes changed anywhere are refused or read; they never panic, and what is read is sound.
    #[test]
    fn damage_never_panics(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        header in any::<bool>(),
    ) {
        let mut messages = stream(3);
        let which = which.index(messages.len());
        let message = &mut messages[which];
        let target = if header { &mut message.data_header } else { &mut message.data_body };
        if !target.is_empty() {
            let mut bytes = target.to_vec();
            bytes[at.index(target.len())] = byte;
            *target = bytes.into();
        }
        if let Ok(read) = read(&messages) {
            for message in read {
                if let Message::Batch(ReceivedBatch { batch, .. }) = message {
                    prop_assert_eq!(Flow::read(&batch).unwrap().len(), batch.num_rows());
                }
            }
        }
    }
}
