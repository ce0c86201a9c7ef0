//! The server that stands for Google Cloud Storage is no yes-man: what Google refuses it refuses.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, PutResult,
    UpdateVersion,
};

use super::place::Place;
use super::{Duration, servers};

/// An object may be changed once a second.
const APART: Duration = Duration::from_millis(1_100);

async fn put(
    store: &dyn ObjectStore,
    path: &str,
    text: &'static str,
    mode: PutMode,
) -> object_store::Result<PutResult> {
    store.put_opts(&path.into(), text.into(), mode.into()).await
}

#[tokio::test]
async fn a_write_happens_only_under_its_condition() {
    let store = Place::google().objects();
    let text = async || store.get(&"a/b".into()).await.unwrap().bytes().await.unwrap();
    let first = put(&store, "a/b", "one", PutMode::Create).await.unwrap();
    // The client waits and asks again where Google says that this is too fast.
    let again = put(&store, "a/b", "two", PutMode::Create).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(text().await, "one");
    tokio::time::sleep(APART).await;
    let second = put(&store, "a/b", "two", PutMode::Update(first.clone().into())).await.unwrap();
    assert_ne!((&second.version, &second.e_tag), (&first.version, &first.e_tag));
    for version in [first.version, Some("1".into())] {
        let late = PutMode::Update(UpdateVersion { version, e_tag: None });
        let late = put(&store, "a/b", "three", late).await;
        assert!(matches!(late, Err(Error::Precondition { .. })), "{late:?}");
    }
    assert_eq!(text().await, "two");
    let gone = PutMode::Update(second.into());
    let gone = put(&store, "a/c", "three", gone).await;
    assert!(matches!(gone, Err(Error::Precondition { .. })), "{gone:?}");
    tokio::time::sleep(APART).await;
    store.delete(&"a/b".into()).await.unwrap();
    for missing in [store.delete(&"a/b".into()).await, store.head(&"a/b".into()).await.map(drop)] {
        assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    }
}

#[tokio::test]
async fn ranges_are_those_asked_for() {
    let store = Place::google().objects();
    let path = Path::from("numbers");
    let put = store.put(&path, "0123456789".into()).await.unwrap();
    let get = async |range| {
        let options = GetOptions { range: Some(range), ..GetOptions::default() };
        let got = store.get_opts(&path, options).await?;
        assert_eq!((got.meta.size, &got.meta.e_tag), (10, &put.e_tag));
        got.bytes().await
    };
    assert_eq!(get(GetRange::Bounded(2..5)).await.unwrap(), "234");
    assert_eq!(get(GetRange::Bounded(7..50)).await.unwrap(), "789");
    assert_eq!(get(GetRange::Offset(9)).await.unwrap(), "9");
    assert_eq!(get(GetRange::Suffix(3)).await.unwrap(), "789");
    assert_eq!(get(GetRange::Suffix(30)).await.unwrap(), "0123456789");
    let beyond = get(GetRange::Offset(10)).await.unwrap_err().to_string();
    assert!(beyond.contains("InvalidRange"), "{beyond}");
    let other = GetOptions { if_match: Some("\"other\"".into()), ..GetOptions::default() };
    let other = store.get_opts(&path, other).await;
    assert!(matches!(other, Err(Error::Precondition { .. })), "{other:?}");
    let since = GetOptions { if_modified_since: Some(Default::default()), ..GetOptions::default() };
    let unknown = store.get_opts(&path, since).await.unwrap_err().to_string();
    assert!(unknown.contains("does not know the header if-modified-since"), "{unknown}");
}

#[tokio::test]
async fn lists_come_in_pages_and_in_order() {
    let store = Place::google().objects();
    let names: Vec<String> = (0..35).map(|n| format!("l/{}/{n:02} & more", n / 12)).collect();
    for name in names.iter().rev() {
        store.put(&name.as_str().into(), PutPayload::new()).await.unwrap();
    }
    store.put(&"l!".into(), PutPayload::new()).await.unwrap();
    let below = Path::from("l");
    let listed: Vec<_> = store.list(Some(&below)).try_collect().await.unwrap();
    let listed: Vec<&str> = listed.iter().map(|object| object.location.as_ref()).collect();
    assert_eq!(listed, names);
    let after = store.list_with_offset(Some(&below), &names[20].as_str().into());
    let after: Vec<_> = after.try_collect().await.unwrap();
    assert_eq!(after.len(), 14);
    let folders = store.list_with_delimiter(Some(&below)).await.unwrap();
    assert_eq!(folders.common_prefixes, ["l/0", "l/1", "l/2"].map(Path::from));
    assert!(folders.objects.is_empty());
    let top = store.list_with_delimiter(None).await.unwrap();
    assert_eq!((top.common_prefixes.len(), top.objects.len()), (1, 1));
}

#[tokio::test]
async fn parts_become_one_object() {
    const PART_BYTES: usize = 5 << 20;
    let store = Place::google().objects();
    let path = Path::from("whole");
    let mut upload = store.put_multipart(&path).await.unwrap();
    for byte in [1_u8, 2] {
        upload.put_part(vec![byte; PART_BYTES].into()).await.unwrap();
    }
    upload.put_part(vec![3_u8; 7].into()).await.unwrap();
    assert!(store.head(&path).await.is_err(), "there is nothing before the end");
    upload.complete().await.unwrap();
    let body = store.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(body.len(), 2 * PART_BYTES + 7);
    assert_eq!((body[0], body[PART_BYTES], body[2 * PART_BYTES]), (1, 2, 3));
    let mut small = store.put_multipart(&"small".into()).await.unwrap();
    for _ in 0..2 {
        small.put_part("too small".into()).await.unwrap();
    }
    let error = small.complete().await.unwrap_err().to_string();
    assert!(error.contains("EntityTooSmall"), "{error}");
    small.abort().await.unwrap();
    assert!(store.head(&"small".into()).await.is_err());
}

/// Status and body of the answer to a request as it is, without a client that knows better.
fn ask(line: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", servers::google())).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn who_shows_no_token_or_a_wrong_one_gets_nothing() {
    for headers in ["", "Authorization: Bearer \r\n", "Authorization: Bearer a.b.c\r\n"] {
        let (status, body) = ask("GET /weir?list-type=2", headers);
        assert_eq!(status, 401, "{body}");
        assert!(body.contains("<Code>AuthenticationRequired</Code>"), "{body}");
    }
}
