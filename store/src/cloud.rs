//! Buckets. The client is set up by the cloud's usual environment variables, then by the
//! location's options; keys are those of `object_store`, with or without `aws_` and the like.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::ClientConfigKey;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};

use crate::OpenError;
use crate::location::{Kind, Location};

/// How long one request may take. The library's 30 s would never let a large file through a slow
/// line.
const REQUEST_TIMEOUT: &str = "2m";
/// The library's own attempts; whoever stores tries again without end and says so.
const RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);
/// Waited before the next of them. Google lets a name be written once a second, and tells that to whoever
/// comes too early, not that somebody was faster: <https://cloud.google.com/storage/docs/gcs429>.
const BACKOFF: Duration = Duration::from_millis(100);
const GOOGLE_BACKOFF: Duration = Duration::from_secs(1);

/// Sets a builder up: all three have these methods, and no trait that says so.
macro_rules! build {
    ($builder:ident, $key:ident, $location:ident, $kind:ident, $backoff:ident) => {{
        let mut builder = $builder::from_env()
            .with_config($key::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
            .with_retry(RetryConfig {
                max_retries: RETRIES,
                retry_timeout: RETRY_TIMEOUT,
                backoff: BackoffConfig { init_backoff: $backoff, ..BackoffConfig::default() },
            });
        for option in $location.options() {
            let (key, value) = option.ok_or_else(|| wrong("", $kind))?;
            let parsed = key.to_ascii_lowercase().parse::<$key>();
            builder = builder.with_config(parsed.map_err(|_| wrong(key, $kind))?, value);
        }
        builder
    }};
}

pub(crate) fn open(
    location: &Location,
    kind: Kind,
    bucket: &str,
    prefix: &str,
) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let failed = |source| OpenError::Cloud { location: location.to_string(), source };
    match kind {
        Kind::S3 => {
            let store = build!(AmazonS3Builder, AmazonS3ConfigKey, location, kind, BACKOFF)
                .with_bucket_name(bucket)
                .with_conditional_put(S3ConditionalPut::ETagMatch)
                .build()
                .map_err(failed)?;
            Ok(below(store, prefix))
        }
        Kind::Google => {
            let store =
                build!(GoogleCloudStorageBuilder, GoogleConfigKey, location, kind, GOOGLE_BACKOFF)
                    .with_bucket_name(bucket)
                    .build()
                    .map_err(failed)?;
            Ok(below(store, prefix))
        }
        Kind::Azure => {
            let store = build!(MicrosoftAzureBuilder, AzureConfigKey, location, kind, BACKOFF)
                .with_container_name(bucket)
                .build()
                .map_err(failed)?;
            Ok(below(store, prefix))
        }
    }
}

fn wrong(key: &str, kind: Kind) -> OpenError {
    let (kind, known) = match kind {
        Kind::S3 => ("S3", "endpoint, region or allow_http"),
        Kind::Google => ("Google Cloud Storage", "service_account or base_url"),
        Kind::Azure => ("Azure", "account_name, endpoint or allow_http"),
    };
    OpenError::Option { option: key.into(), kind, known }
}

fn below(store: impl ObjectStore, prefix: &str) -> Arc<dyn ObjectStore> {
    if prefix.is_empty() {
        return Arc::new(store);
    }
    Arc::new(PrefixStore::new(store, Path::from(prefix)))
}

#[cfg(test)]
mod tests {
    use crate::{Location, open};

    #[test]
    fn options_are_checked() {
        let options = ["endpoint=http://127.0.0.1:1", "allow_http=true", "region=eu", "timeout=1m"];
        let location = Location::new("s3://bucket/prefix");
        let good = location.clone().with_options(options.map(String::from));
        assert!(open(&good).unwrap().to_string().contains("prefix"));
        for wrong in ["endpoint", "end_point=x"] {
            let error = open(&location.clone().with_options([wrong.into()])).unwrap_err();
            assert!(error.to_string().contains("allow_http"), "{error}");
        }
        let google = Location::new("gs://bucket").with_options(["endpoint=x".to_owned()]);
        let error = open(&google).unwrap_err().to_string();
        assert!(error.contains("service_account"), "{error}");
    }

    #[test]
    fn every_cloud_opens_without_being_asked() {
        let google =
            Location::new("gs://bucket/a").with_options(["google_skip_signature=true".to_owned()]);
        assert!(open(&google).is_ok(), "{:?}", open(&google).err());
        let azure = Location::new("az://container/a")
            .with_options(["account_name=a".to_owned(), "access_key=aGVsbG8=".to_owned()]);
        assert!(open(&azure).is_ok(), "{:?}", open(&azure).err());
    }
}
