//! A collector and a query service as the relay sees them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightData, FlightDescriptor, Ticket};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use weir_flow::manifest::{MANIFEST_PREFIX, Manifest};
use weir_flow::schema::loss::loss_schema;
use weir_flow::schema::objects::{ObjectVersion, ObjectVersionBuilder, object_schema};
use weir_flow::schema::{sent_schema, stored_schema};
use weir_flow::wire::{
    self, Acknowledgement, BatchId, FLOWS, FollowTicket, HotHeader, HotPosition, HotTicket,
    LossTicket, OBJECTS, ObjectsId, ObjectsTicket, RelayStatus, STATUS_ACTION,
};

pub(crate) fn id(sequence: u64) -> BatchId {
    BatchId { collector: "lab/node-1".into(), epoch: 1, sequence, status: None, losses: vec![] }
}

/// The messages of one `DoPut` stream.
pub(crate) fn encode(batches: &[(BatchId, RecordBatch)]) -> Vec<FlightData> {
    let mut tracker = DictionaryTracker::new(false);
    let mut context = IpcWriteContext::default();
    let options = IpcWriteOptions::default();
    let generator = IpcDataGenerator::default();
    let schema = batches.first().map_or_else(stored_schema, |(_, batch)| batch.schema());
    let schema = generator.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, &options);
    let mut messages = vec![FlightData {
        flight_descriptor: Some(FlightDescriptor::new_path(vec![FLOWS.into()])),
        ..schema.into()
    }];
    for (id, batch) in batches {
        let (dictionaries, rows) =
            generator.encode(batch, &mut tracker, &options, &mut context).unwrap();
        messages.extend(dictionaries.into_iter().map(FlightData::from));
        messages.push(FlightData { app_metadata: wire::encode(id), ..rows.into() });
    }
    messages
}

/// The messages of a stream of object versions; each batch brings its own dictionaries.
pub(crate) fn encode_objects(batches: &[(ObjectsId, Vec<ObjectVersion>)]) -> Vec<FlightData> {
    let options = IpcWriteOptions::default();
    let generator = IpcDataGenerator::default();
    let begin = || {
        let mut tracker = DictionaryTracker::new(false);
        let schema = object_schema();
        let schema =
            generator.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, &options);
        (tracker, schema)
    };
    let mut messages = vec![FlightData {
        flight_descriptor: Some(FlightDescriptor::new_path(vec![OBJECTS.into()])),
        ..begin().1.into()
    }];
    for (id, versions) in batches {
        let mut builder = ObjectVersionBuilder::default();
        versions.iter().for_each(|version| builder.append(version));
        let (dictionaries, rows) = generator
            .encode(&builder.finish(), &mut begin().0, &options, &mut IpcWriteContext::default())
            .unwrap();
        messages.extend(dictionaries.into_iter().map(FlightData::from));
        messages.push(FlightData { app_metadata: wire::encode(id), ..rows.into() });
    }
    messages
}

#[derive(Clone)]
pub(crate) struct Client(FlightServiceClient<Channel>);

impl Client {
    pub(crate) async fn tcp(address: std::net::SocketAddr) -> Self {
        let channel = Endpoint::new(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self::new(channel)
    }

    pub(crate) async fn unix(path: &Path) -> Self {
        let channel = Endpoint::new(format!("unix://{}", path.display())).unwrap();
        Self::new(channel.connect().await.unwrap())
    }

    fn new(channel: Channel) -> Self {
        Self(FlightServiceClient::new(channel).max_decoding_message_size(usize::MAX))
    }

    /// An open stream.
    pub(crate) async fn put(&self) -> Put {
        let (send, receive) = mpsc::channel(64);
        let answers =
            self.0.clone().do_put(ReceiverStream::new(receive)).await.unwrap().into_inner();
        Put { send, answers }
    }

    /// Sends batches by a stream of their own; returns the sequences acknowledged.
    pub(crate) async fn send(
        &self,
        batches: &[(BatchId, RecordBatch)],
    ) -> Result<Vec<u64>, Status> {
        self.send_raw(encode(batches)).await
    }

    pub(crate) async fn send_raw(&self, messages: Vec<FlightData>) -> Result<Vec<u64>, Status> {
        let stream = futures::stream::iter(messages);
        let answers = self.0.clone().do_put(stream).await?.into_inner();
        answers
            .map_ok(|answer| {
                wire::decode::<Acknowledgement>(&answer.app_metadata).unwrap().sequence
            })
            .try_collect()
            .await
    }

    pub(crate) async fn hot(
        &self,
        ticket: HotTicket,
    ) -> (HotHeader, Vec<(HotPosition, RecordBatch)>) {
        self.get(wire::encode(&ticket), sent_schema()).await
    }

    /// The hot object versions, and the manifest that they complete.
    pub(crate) async fn objects(&self) -> (HotHeader, Vec<ObjectVersion>) {
        let objects = HotTicket { relay_epoch: 0, after: 0 };
        let ticket = wire::encode(&ObjectsTicket { objects });
        let (header, batches) = self.get(ticket, object_schema()).await;
        let versions =
            batches.iter().flat_map(|(_, batch)| ObjectVersion::read(batch).unwrap()).collect();
        (header, versions)
    }

    /// The hot rows of the ledger, and the manifest that they complete.
    pub(crate) async fn losses(&self) -> (HotHeader, Vec<RecordBatch>) {
        let ticket = LossTicket { loss: HotTicket { relay_epoch: 0, after: 0 } };
        let (header, batches) = self.get(wire::encode(&ticket), loss_schema()).await;
        (header, batches.into_iter().map(|(_, batch)| batch).collect())
    }

    async fn get(
        &self,
        ticket: bytes::Bytes,
        expected: SchemaRef,
    ) -> (HotHeader, Vec<(HotPosition, RecordBatch)>) {
        let ticket = Ticket { ticket };
        let stream = self.0.clone().do_get(ticket).await.unwrap().into_inner();
        let mut decoder = FlightDataDecoder::new(stream.map_err(Into::into));
        let mut header = None;
        let mut batches = Vec::new();
        while let Some(message) = decoder.next().await {
            let message = message.unwrap();
            match message.payload {
                DecodedPayload::Schema(schema) => {
                    assert_eq!(schema, expected);
                    header = Some(wire::decode(&message.inner.app_metadata).unwrap());
                }
                DecodedPayload::RecordBatch(batch) => {
                    batches.push((wire::decode(&message.inner.app_metadata).unwrap(), batch));
                }
                DecodedPayload::None => {}
            }
        }
        (header.unwrap(), batches)
    }

    /// The batches behind a position, and all that come.
    pub(crate) async fn follow(&self, follow: HotTicket) -> Following {
        let ticket = Ticket { ticket: wire::encode(&FollowTicket { follow }) };
        let stream = self.0.clone().do_get(ticket).await.unwrap().into_inner();
        Following(FlightDataDecoder::new(stream.map_err(Into::into)))
    }

    pub(crate) async fn status(&self) -> RelayStatus {
        let action = Action { r#type: STATUS_ACTION.into(), body: Default::default() };
        let results: Vec<_> = self
            .0
            .clone()
            .do_action(action)
            .await
            .unwrap()
            .into_inner()
            .try_collect()
            .await
            .unwrap();
        wire::decode(&results[0].body).unwrap()
    }

    pub(crate) fn flight(&self) -> FlightServiceClient<Channel> {
        self.0.clone()
    }
}

pub(crate) struct Put {
    pub(crate) send: mpsc::Sender<FlightData>,
    pub(crate) answers: Streaming<arrow_flight::PutResult>,
}

impl Put {
    pub(crate) async fn acknowledged(&mut self) -> Result<Acknowledgement, Status> {
        let answer = self.answers.message().await?.expect("the stream goes on");
        Ok(wire::decode(&answer.app_metadata).unwrap())
    }
}

/// A stream of hot batches without end.
pub(crate) struct Following(FlightDataDecoder);

impl Following {
    pub(crate) async fn header(&mut self) -> HotHeader {
        let first = self.0.next().await.unwrap().unwrap();
        wire::decode(&first.inner.app_metadata).unwrap()
    }

    /// The next batch: its position and the `count` of each row.
    pub(crate) async fn next(&mut self) -> Result<(u64, Vec<u64>), Status> {
        loop {
            let message = match self.0.next().await.expect("the stream goes on") {
                Ok(message) => message,
                Err(FlightError::Tonic(status)) => return Err(*status),
                Err(error) => panic!("{error}"),
            };
            if let DecodedPayload::RecordBatch(batch) = message.payload {
                let position: HotPosition = wire::decode(&message.inner.app_metadata).unwrap();
                return Ok((position.position, counts(&batch)));
            }
        }
    }
}

/// A reader of the store who knows nothing of the relay's memory.
pub(crate) struct StoreReader {
    objects: Arc<dyn ObjectStore>,
    /// `count` of every row of a file, which never changes.
    files: HashMap<String, Vec<u64>>,
}

impl StoreReader {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, files: HashMap::new() }
    }

    pub(crate) async fn body(&self, path: &str) -> bytes::Bytes {
        self.objects.get(&path.into()).await.unwrap().bytes().await.unwrap()
    }

    pub(crate) async fn manifest(&self, version: u64) -> Manifest {
        if version == 0 {
            return Manifest::default();
        }
        serde_json::from_slice(&self.body(&Manifest::path(version)).await).unwrap()
    }

    pub(crate) async fn newest(&self) -> Manifest {
        let paths = self.paths(MANIFEST_PREFIX).await;
        let version = paths.iter().filter_map(|path| Manifest::version_of(path)).max();
        self.manifest(version.unwrap_or(0)).await
    }

    /// The objects below a prefix, sorted.
    pub(crate) async fn paths(&self, prefix: &str) -> Vec<String> {
        let listed = self.objects.list(Some(&prefix.into()));
        let mut paths: Vec<String> =
            listed.map_ok(|object| object.location.into()).try_collect().await.unwrap();
        paths.sort();
        paths
    }

    pub(crate) async fn write(&self, path: &str, body: &'static str) {
        self.objects.put(&path.into(), body.into()).await.unwrap();
    }

    pub(crate) async fn batches(&self, path: &str) -> Vec<RecordBatch> {
        let body = self.body(path).await;
        let reader = ParquetRecordBatchReaderBuilder::try_new(body).unwrap().build().unwrap();
        reader.map(Result::unwrap).collect()
    }

    /// The `count` of every row in a manifest's files.
    pub(crate) async fn counts(&mut self, manifest: &Manifest) -> Vec<u64> {
        let mut all = Vec::new();
        for file in &manifest.files {
            if !self.files.contains_key(&file.path) {
                let batches = self.batches(&file.path).await;
                let counts: Vec<u64> = batches.iter().flat_map(counts).collect();
                assert_eq!(counts.len() as u64, file.rows);
                self.files.insert(file.path.clone(), counts);
            }
            all.extend_from_slice(&self.files[&file.path]);
        }
        all
    }

    /// The same of the newest one, sorted.
    pub(crate) async fn all(&mut self) -> Vec<u64> {
        let newest = self.newest().await;
        let mut all = self.counts(&newest).await;
        all.sort_unstable();
        all
    }
}

/// The `count` of every row.
pub(crate) fn counts(batch: &RecordBatch) -> Vec<u64> {
    use arrow::array::AsArray as _;
    use arrow::datatypes::UInt64Type;
    batch.column_by_name("count").unwrap().as_primitive::<UInt64Type>().values().to_vec()
}
