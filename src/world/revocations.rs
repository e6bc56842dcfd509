//! Keeps the deny list up to date: from a file, and from a Redis server that says when something is added (U25).
//!
//! What cannot be read changes nothing: the list that was read last stays, and metrics, readiness and status say so. A
//! server that is away is asked again at once; once its list is older than `max_stale`, nobody is let in, unless the
//! configuration says that the last list is kept.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, Msg, TlsCertificates};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::clock::UnixTime;
use crate::gates::authn::revocation::list::{self, DenyList, MAX_BYTES, MAX_ENTRIES};
use crate::gates::authn::revocation::{RedisList, Revocation, Revocations, Source};
use crate::gateway::Gateway;

/// Time between two looks at a file.
const LOOK: Duration = Duration::from_millis(250);
/// Time between two questions whether a server is still there.
const PING: Duration = Duration::from_secs(1);
/// Least and greatest wait before a server is asked again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// The set is read so long after a message that is no entry, however many there are.
const SOON: Duration = Duration::from_millis(100);

/// Names that entries may have.
#[must_use]
pub fn authorities(gateway: &Gateway) -> Vec<&str> {
    // all tenants of a provider, or one of them
    let issuers = gateway
        .issuers
        .iter()
        .flat_map(|issuer| [&*issuer.entry, &*issuer.name]);
    let rings = gateway.keys.iter().map(|ring| &*ring.name);
    let truststores = gateway.truststores.iter().map(|truststore| &*truststore.name);
    issuers.chain(rings).chain(truststores).collect()
}

/// Reads a file of entries.
///
/// # Errors
/// It cannot be read, or a line of it.
pub fn read_file(file: &Path, gateway: &Gateway) -> Result<DenyList, String> {
    read(file, &authorities(gateway)).map_err(|why| format!("{}: {why}", file.display()))
}

fn read(file: &Path, authorities: &[&str]) -> Result<DenyList, String> {
    let size = std::fs::metadata(file).map_err(|why| why.to_string())?.len();
    if size > MAX_BYTES {
        return Err(format!("longer than {MAX_BYTES} bytes"));
    }
    let text = std::fs::read_to_string(file).map_err(|why| why.to_string())?;
    DenyList::read(&text, authorities)
}

/// Takes over the settings of a snapshot before it decides anything: a file is read, and a server whose list was not read
/// yet lets nobody in.
pub fn adopt(revocations: &Revocations, gateway: &Gateway) {
    let new = gateway.revocation.as_ref();
    let old = revocations.adopt(gateway.revocation.clone());
    let file = |settings: Option<&Revocation>| settings.and_then(|settings| settings.file.clone());
    let redis = |settings: Option<&Revocation>| settings.and_then(|settings| settings.redis.clone());
    if file(new) != file(old.as_ref()) {
        match file(new) {
            Some(file) => took(revocations, read_file(&file, gateway)),
            None => {
                revocations.replace(Source::File, DenyList::default());
                revocations.good_until(Source::File, UnixTime::MAX);
                revocations.note(Source::File, None);
            }
        }
    }
    if redis(new) != redis(old.as_ref()) {
        let is_known = redis(new).is_none_or(|list| list.keeps);
        let until = if is_known { UnixTime::MAX } else { UnixTime::EPOCH };
        revocations.good_until(Source::Redis, until);
        revocations.note(Source::Redis, None);
        let same_set = |a: &RedisList, b: &RedisList| (&a.url, &a.key) == (&b.url, &b.key);
        if !redis(new)
            .zip(redis(old.as_ref()))
            .is_some_and(|(a, b)| same_set(&a, &b))
        {
            revocations.replace_redis(DenyList::default());
        }
    }
}

/// What came of reading the file.
fn took(revocations: &Revocations, read: Result<DenyList, String>) {
    match read {
        Ok(list) => {
            log::info!(target: "durward::revocation", "the file has {} entries", list.len());
            revocations.replace(Source::File, list);
            revocations.good_until(Source::File, UnixTime::MAX);
            revocations.note(Source::File, None);
        }
        Err(why) => {
            log::error!(target: "durward::revocation", "the list that was read last stays: {why}");
            // there is none that could stay
            if !revocations.was_read(Source::File) {
                revocations.good_until(Source::File, UnixTime::EPOCH);
            }
            revocations.note(Source::File, Some(why));
        }
    }
}

/// Follows what a snapshot names; never ends.
pub async fn follow(revocations: Arc<Revocations>, settings: Revocation, authorities: Vec<String>) {
    let file = async {
        match &settings.file {
            Some(file) => follow_file(&revocations, file, &authorities).await,
            None => std::future::pending().await,
        }
    };
    let redis = async {
        match &settings.redis {
            Some(list) => follow_redis(&revocations, list, &authorities).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(file, redis);
}

/// What changes when a file does: also where it takes the place of another, as Kubernetes does it.
fn fingerprint(file: &Path) -> Option<(u64, u64, i64, i64, u64)> {
    let seen = |meta: Metadata| {
        (
            meta.dev(),
            meta.ino(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.size(),
        )
    };
    std::fs::metadata(file).ok().map(seen)
}

async fn follow_file(revocations: &Revocations, file: &Path, authorities: &[String]) {
    let mut last = None;
    loop {
        let (path, names) = (file.to_owned(), authorities.to_owned());
        let before = last;
        let looked = tokio::task::spawn_blocking(move || {
            let now = Some(fingerprint(&path));
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let list = (now != before).then(|| read(&path, &names));
            (
                now,
                list.map(|read| read.map_err(|why| format!("{}: {why}", path.display()))),
            )
        });
        if let Ok((seen, list)) = looked.await {
            last = seen;
            list.into_iter().for_each(|list| took(revocations, list));
        }
        sleep(LOOK).await;
    }
}

async fn follow_redis(revocations: &Revocations, list: &RedisList, authorities: &[String]) {
    let mut backoff = BACKOFF.0;
    let mut last = String::new();
    loop {
        let begun = Instant::now();
        let mut server = Server {
            revocations,
            list,
            authorities: authorities.iter().map(String::as_str).collect(),
        };
        let Err(why) = server.follow().await;
        // its message may repeat the address, and never the password
        if why != last {
            log::warn!(target: "durward::revocation", "redis: {why}");
        }
        revocations.note(Source::Redis, Some(why.clone()));
        last = why;
        backoff = if begun.elapsed() > BACKOFF.1 {
            BACKOFF.0
        } else {
            (backoff * 2).min(BACKOFF.1)
        };
        sleep(backoff).await;
    }
}

/// Whether a URL names a server.
///
/// # Errors
/// Why not.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    match url.into_connection_info().map(|info| info.addr().clone()) {
        Ok(ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { .. }) => Ok(()),
        _ => Err("this is no URL of a Redis server"),
    }
}

/// A server, as long as it is there.
struct Server<'a> {
    revocations: &'a Revocations,
    list: &'a RedisList,
    authorities: Vec<&'a str>,
}

impl Server<'_> {
    async fn follow(&mut self) -> Result<std::convert::Infallible, String> {
        let client = self.client().map_err(|why| why.to_string())?;
        let span = self.list.timeout;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(span))
            .set_response_timeout(Some(span));
        let mut commands = client
            .get_multiplexed_async_connection_with_config(&settings)
            .await
            .map_err(|why| why.to_string())?;
        let within = |what: &str| format!("no answer within the deadline: {what}");
        // subscribed first: what is added while the set is read is heard
        let pubsub = timeout(span, client.get_async_pubsub())
            .await
            .map_err(|_| within("a connection"))?
            .map_err(|why| why.to_string())?;
        let (mut sink, mut messages) = pubsub.split();
        timeout(span, sink.subscribe(&self.list.channel))
            .await
            .map_err(|_| within("SUBSCRIBE"))?
            .map_err(|why| why.to_string())?;
        self.read(&mut commands).await?;
        let mut refresh = interval(self.list.refresh);
        let mut ping = interval(PING);
        for ticks in [&mut refresh, &mut ping] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.reset();
        }
        loop {
            tokio::select! {
                message = next(&mut messages) => {
                    let message = message.ok_or("the connection has ended")?;
                    if !self.hear(&message) {
                        refresh.reset_after(SOON);
                    }
                }
                _ = refresh.tick() => self.read(&mut commands).await?,
                _ = ping.tick() => {
                    timeout(span, sink.ping::<redis::Value>())
                        .await
                        .map_err(|_| within("PING"))?
                        .map_err(|why| why.to_string())?;
                }
            }
        }
    }

    fn client(&self) -> redis::RedisResult<Client> {
        match &self.list.ca {
            Some(ca) => Client::build_with_tls(
                &*self.list.url,
                TlsCertificates {
                    client_tls: None,
                    root_cert: Some(ca.clone().into_bytes()),
                },
            ),
            None => Client::open(&*self.list.url),
        }
    }

    /// Whether a message was an entry; any other has the set read.
    fn hear(&self, message: &Msg) -> bool {
        let text: Option<String> = message.get_payload().ok();
        match text.map(|text| list::parse(&text, &self.authorities)) {
            Some(Ok(Some(entry))) => {
                self.revocations.add(entry);
                true
            }
            _ => false,
        }
    }

    /// Reads the whole set. An entry that cannot be read is reported, and does not keep the others from counting.
    async fn read(&self, commands: &mut MultiplexedConnection) -> Result<(), String> {
        let begun = UnixTime::of_system();
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(&self.list.key).arg(begun.seconds()).arg("+inf");
        let entries: Vec<String> = command
            .query_async(commands)
            .await
            .map_err(|why| why.to_string())?;
        if entries.len() > MAX_ENTRIES {
            return Err(format!("more than {MAX_ENTRIES} entries"));
        }
        let (mut list, mut fault) = (DenyList::default(), None);
        for entry in &entries {
            match list::parse(entry, &self.authorities) {
                Ok(entry) => entry.into_iter().for_each(|entry| list.add(entry)),
                Err(why) => fault = Some(format!("an entry is left out: {why}")),
            }
        }
        if let Some(fault) = &fault
            && self.revocations.fault(Source::Redis).as_ref() != Some(fault)
        {
            log::error!(target: "durward::revocation", "redis: {fault}");
        }
        self.revocations.replace_redis(list);
        let until = if self.list.keeps {
            UnixTime::MAX
        } else {
            begun.saturating_add(self.list.max_stale)
        };
        self.revocations.good_until(Source::Redis, until);
        self.revocations.note(Source::Redis, fault);
        Ok(())
    }
}

async fn next(messages: &mut PubSubStream) -> Option<Msg> {
    std::future::poll_fn(|context| Pin::new(&mut *messages).poll_next(context)).await
}
