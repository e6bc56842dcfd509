//! Days of an issuer in no time: tokio's clock stands still but for what is waited for.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use tokio::time::{advance, sleep};

use super::*;
use crate::world::fetch::{KeysAt, KeysUrl};

const SECOND: Duration = Duration::from_secs(1);

/// What the issuer answers now, after how long, and how often it was asked.
struct Scripted {
    answer: Mutex<Result<&'static str, ()>>,
    takes: Mutex<Duration>,
    fetches: AtomicUsize,
}

impl Fetch for Scripted {
    async fn keys(&self, from: &KeysUrl) -> Result<KeySet, FetchError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        // it answers as it is when it is asked
        let answer = *self.answer.lock().unwrap();
        let takes = *self.takes.lock().unwrap();
        tokio::time::timeout(from.timeout, sleep(takes))
            .await
            .map_err(|_| FetchError::Timeout)?;
        match answer {
            Ok(kid) => Ok(set(kid)),
            Err(()) => Err(FetchError::ContentType),
        }
    }
}

/// A set with one key of this name: the example of RFC 8037 appendix A.2.
fn set(kid: &str) -> KeySet {
    let key = format!(
        r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}]}}"#
    );
    KeySet::parse(key.as_bytes()).unwrap()
}

struct Stage {
    source: Arc<KeySource>,
    issuer: Arc<Scripted>,
}

impl Stage {
    /// Cache 300 s, stale for an hour, cooldown 10 s, timeout 3 s; the first answer takes half a second.
    fn new(answer: Result<&'static str, ()>) -> Stage {
        let url = KeysUrl {
            at: KeysAt::Url("https://issuer.example/jwks".parse().unwrap()),
            ca: Vec::new(),
            cache: SECOND * 300,
            max_stale: SECOND * 3600,
            cooldown: SECOND * 10,
            timeout: SECOND * 3,
        };
        let source = Arc::new(KeySource::new("main".into(), KeysFrom::Url(Box::new(url))));
        let issuer = Arc::new(Scripted {
            answer: Mutex::new(answer),
            takes: Mutex::new(SECOND / 2),
            fetches: AtomicUsize::new(0),
        });
        let (of, from) = (source.clone(), issuer.clone());
        tokio::spawn(async move { of.keep_fresh(&*from).await });
        Stage { source, issuer }
    }

    fn answers(&self, answer: Result<&'static str, ()>) {
        *self.issuer.answer.lock().unwrap() = answer;
    }

    fn takes(&self, time: Duration) {
        *self.issuer.takes.lock().unwrap() = time;
    }

    fn fetches(&self) -> usize {
        self.issuer.fetches.load(Ordering::SeqCst)
    }

    /// The `kid` in use.
    fn kid(&self) -> Option<String> {
        kid(&self.source.keys())
    }

    /// The `kid` in use once a token has asked for this one; `None`: nobody can tell.
    async fn asked(&self, for_kid: &str) -> Option<String> {
        kid(&self.source.newer(Some(for_kid)).await)
    }
}

fn kid(keys: &Keys) -> Option<String> {
    match keys {
        Keys::Known(keys) => keys.keys().first().and_then(|key| key.kid()).map(str::to_owned),
        Keys::Unavailable(_) => None,
    }
}

// S50
#[tokio::test(start_paused = true)]
async fn keys_are_fetched_once_and_again_before_they_stop_being_fresh() {
    let stage = Stage::new(Ok("a"));
    assert_eq!(
        stage.asked("a").await.as_deref(),
        Some("a"),
        "whoever comes first waits for the first fetch"
    );
    assert_eq!(stage.fetches(), 1, "and does not ask for another one");
    sleep(SECOND * 260).await;
    assert_eq!(stage.fetches(), 1);
    stage.answers(Ok("b"));
    sleep(SECOND * 39).await;
    assert_eq!(
        (stage.fetches(), stage.kid().as_deref()),
        (2, Some("b")),
        "not before the cache time is over"
    );
    sleep(SECOND * 3600).await;
    assert!((13..=16).contains(&stage.fetches()), "{}", stage.fetches());
}

// S51, U1
#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_there_for_the_first_token_that_names_it() {
    let stage = Stage::new(Ok("a"));
    stage.asked("a").await;
    // just after the scheduled fetch, and again soon after that
    for rotated in ["b", "c", "d"] {
        stage.answers(Ok(rotated));
        assert_eq!(stage.asked(rotated).await.as_deref(), Some(rotated));
        sleep(AFTER_NEWS).await;
    }
    assert_eq!(stage.fetches(), 4);
}

// S51
#[tokio::test(start_paused = true)]
async fn random_kids_cause_one_fetch_in_a_cooldown() {
    let stage = Stage::new(Ok("a"));
    stage.asked("a").await;
    for n in 0..600 {
        stage.asked(&n.to_string()).await;
        sleep(SECOND / 20).await;
    }
    // 30 s at 10 s each, and the half seconds of the fetches themselves
    assert!((3..=5).contains(&stage.fetches()), "{}", stage.fetches());
}

// S51: however many ask at any moment, and whatever they wait for
#[tokio::test(start_paused = true)]
async fn a_flood_that_never_waits_causes_two_fetches_in_a_cooldown_at_most() {
    let stage = Stage::new(Ok("a"));
    stage.asked("a").await;
    let before = stage.fetches();
    // a hundred seconds: ten cooldowns
    for n in 0..10_000 {
        let source = stage.source.clone();
        tokio::spawn(async move { source.newer(Some(&n.to_string())).await });
        sleep(SECOND / 100).await;
    }
    let fetches = stage.fetches() - before;
    assert!((10..=22).contains(&fetches), "{fetches}");
}

// S51, U1: the fetch that was under way had begun before the rotation
#[tokio::test(start_paused = true)]
async fn who_joins_a_fetch_that_brings_the_old_keys_asks_once_more() {
    let stage = Stage::new(Ok("a"));
    stage.asked("a").await;
    let source = stage.source.clone();
    let random = tokio::spawn(async move { kid(&source.newer(Some("random")).await) });
    sleep(SECOND / 4).await;
    assert_eq!(stage.fetches(), 2, "it is under way");
    stage.answers(Ok("b"));
    assert_eq!(stage.asked("b").await.as_deref(), Some("b"));
    assert_eq!(
        (random.await.unwrap().as_deref(), stage.fetches()),
        (Some("a"), 3),
        "who was first is answered by the first fetch"
    );
}

// S51, U2
#[tokio::test(start_paused = true)]
async fn what_nobody_can_tell_before_the_cooldown_has_passed_is_not_the_tokens_fault() {
    let stage = Stage::new(Ok("a"));
    stage.asked("a").await;
    assert_eq!(stage.asked("random").await.as_deref(), Some("a"));
    stage.answers(Ok("b"));
    sleep(SECOND).await;
    let Keys::Unavailable(after) = stage.source.newer(Some("b")).await else {
        panic!("it could be there")
    };
    assert!((SECOND * 8..SECOND * 10).contains(&after), "{after:?}");
    assert_eq!(
        stage.asked("random").await.as_deref(),
        Some("a"),
        "of this one it is known"
    );
    sleep(after).await;
    assert_eq!(stage.asked("b").await.as_deref(), Some("b"));
    assert_eq!(
        stage.asked("a").await.as_deref(),
        Some("b"),
        "what was taken away is known not to be there"
    );
    assert_eq!(stage.fetches(), 3);
}

// S51, U1: an issuer that rotates twice in a second
#[tokio::test(start_paused = true)]
async fn who_comes_soon_after_news_waits_for_more() {
    let stage = Stage::new(Ok("a"));
    stage.asked("a").await;
    stage.answers(Ok("b"));
    assert_eq!(stage.asked("b").await.as_deref(), Some("b"));
    stage.answers(Ok("c"));
    let begun = Instant::now();
    assert_eq!(stage.asked("c").await.as_deref(), Some("c"));
    assert_eq!((begun.elapsed(), stage.fetches()), (AFTER_NEWS + SECOND / 2, 3));
}

// S51, U2
#[tokio::test(start_paused = true)]
async fn who_joins_the_fetch_that_was_the_last_for_now_is_not_refused() {
    let stage = Stage::new(Ok("a"));
    stage.asked("a").await;
    let ask = |kid: &'static str| {
        let source = stage.source.clone();
        tokio::spawn(async move { source.newer(Some(kid)).await })
    };
    let first = ask("one");
    sleep(SECOND / 4).await;
    let second = ask("two");
    sleep(SECOND / 2).await;
    assert_eq!(stage.fetches(), 3, "the second has asked once more");
    stage.answers(Ok("b"));
    let third = ask("b");
    assert!(matches!(first.await.unwrap(), Keys::Known(_)));
    assert!(matches!(second.await.unwrap(), Keys::Known(_)));
    assert!(matches!(third.await.unwrap(), Keys::Unavailable(after) if after > SECOND * 9));
    assert_eq!(stage.fetches(), 3);
}

// S51: servers of one issuer that do not agree
#[tokio::test(start_paused = true)]
async fn an_issuer_that_changes_its_keys_all_the_time_is_not_asked_all_the_time() {
    let stage = Stage::new(Ok("a"));
    stage.takes(Duration::from_millis(1));
    for turn in 0..200 {
        stage.answers(Ok(if turn % 2 == 0 { "a" } else { "b" }));
        let source = stage.source.clone();
        tokio::spawn(async move { source.newer(Some("c")).await });
        sleep(SECOND / 20).await;
    }
    assert!(stage.fetches() <= 12, "{} in ten seconds", stage.fetches());
}

// U1
#[tokio::test(start_paused = true)]
async fn many_who_ask_at_once_wait_for_one_fetch() {
    let stage = Stage::new(Ok("a"));
    stage.asked("a").await;
    stage.answers(Ok("b"));
    let source = &stage.source;
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let source = source.clone();
            tokio::spawn(async move { kid(&source.newer(Some("b")).await) })
        })
        .collect();
    for one in asking {
        assert_eq!(one.await.unwrap().as_deref(), Some("b"));
    }
    assert_eq!(stage.fetches(), 2);
}

// U2
#[tokio::test(start_paused = true)]
async fn keys_stay_in_use_without_their_issuer_until_max_stale_and_come_back_with_it() {
    let stage = Stage::new(Ok("a"));
    stage.asked("a").await;
    stage.answers(Err(()));
    sleep(SECOND * 3590).await;
    assert_eq!(stage.kid().as_deref(), Some("a"));
    assert!(stage.source.state().usable && stage.source.state().failures > 3);
    // what these keys lack may be there: nobody can know now
    assert_eq!(stage.asked("b").await, None);
    sleep(SECOND * 20).await;
    assert_eq!(stage.kid(), None, "too old to be trusted");
    assert!(!stage.source.state().usable);
    let before = stage.fetches();
    sleep(SECOND * 300).await;
    assert!(stage.fetches() - before >= 9, "it is tried every half minute");
    stage.answers(Ok("b"));
    sleep(SECOND * 31).await;
    assert_eq!(
        (stage.kid().as_deref(), stage.source.state().failures),
        (Some("b"), 0)
    );
}

// U3
#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_at_the_start_is_tried_at_growing_intervals() {
    let stage = Stage::new(Err(()));
    assert_eq!(stage.asked("b").await, None);
    // tokens do not make it more often
    for _ in 0..100 {
        assert_eq!(stage.asked("b").await, None);
        sleep(SECOND / 10).await;
    }
    assert!(
        (3..=5).contains(&stage.fetches()),
        "1, 2, 4 s: {}",
        stage.fetches()
    );
    stage.answers(Ok("a"));
    sleep(SECOND * 16).await;
    assert_eq!(stage.kid().as_deref(), Some("a"));
}

// U2: an issuer that hangs
#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_deadline_and_hanging_counts_as_failing() {
    let stage = Stage::new(Ok("a"));
    stage.takes(SECOND * 3600);
    let begun = Instant::now();
    assert_eq!(stage.asked("b").await, None);
    assert!(begun.elapsed() <= SECOND * 4);
    let begun = Instant::now();
    assert_eq!(stage.asked("b").await, None);
    assert_eq!(
        begun.elapsed(),
        Duration::ZERO,
        "the back-off counts from the end of the fetch"
    );
    assert!(matches!(stage.source.keys(), Keys::Unavailable(after) if after >= SECOND));
    advance(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn the_same_keys_keep_their_generation() {
    let stage = Stage::new(Ok("a"));
    let Keys::Known(first) = stage.source.newer(Some("a")).await else {
        panic!()
    };
    stage.source.newer(Some("b")).await;
    assert_eq!(stage.fetches(), 2);
    let Keys::Known(second) = stage.source.keys() else {
        panic!()
    };
    assert_eq!(first.generation(), second.generation());
}
