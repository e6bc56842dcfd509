//! What is told of each request and is the same for all of a route: metrics, resolved once, because a look-up by labels
//! costs more than the counting; and what records say of the route.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Method, StatusCode};
use prometheus::{Histogram, IntCounter};

use super::metrics::Metrics;
use super::record::route_fields;
use crate::gateway::{Access, Gateway, Route, RouteId};
use crate::upstream::Upstream;

/// The metrics of a snapshot.
#[derive(Debug)]
pub struct Meters {
    routes: Box<[Meter]>,
    limits: Box<[OnceLock<IntCounter>]>,
    /// By upstream, by target.
    targets: Box<[Box<[TargetMeter]>]>,
}

/// The metrics of one route.
#[derive(Debug, Default)]
struct Meter {
    fields: Box<str>,
    allowed: OnceLock<IntCounter>,
    public: OnceLock<IntCounter>,
    durations: ArcSwap<Vec<(Labels, Histogram)>>,
}

/// The metrics of one target of an upstream.
#[derive(Debug, Default)]
struct TargetMeter {
    attempts: OnceLock<IntCounter>,
    /// By class of status.
    answers: [OnceLock<Histogram>; CLASSES.len()],
}

/// Classes of a final status.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// What tells durations of one route apart. Few at a time: a route has few methods and its service few statuses.
type Labels = (Method, u16, &'static str);

/// A target, by index of its upstream in the snapshot and its own index in there.
pub type TargetId = (usize, usize);

impl Meters {
    /// For all routes, limits and targets of a snapshot; nothing is resolved yet.
    #[must_use]
    pub fn new(gateway: &Gateway) -> Meters {
        let targets = |upstream: &Upstream| upstream.targets.iter().map(|_| TargetMeter::default()).collect();
        Meters {
            routes: gateway.routes.iter().map(Meter::new).collect(),
            limits: gateway.limits.iter().map(|_| OnceLock::new()).collect(),
            targets: gateway.upstreams.iter().map(targets).collect(),
        }
    }

    /// What records say of a route.
    #[must_use]
    pub fn route_fields(&self, id: RouteId) -> &str {
        self.routes.get(id.0).map_or("", |meter| &meter.fields)
    }

    /// A request of a route was allowed, and is over.
    pub fn allowed(
        &self,
        metrics: &Metrics,
        (id, route): (RouteId, &Route),
        labels: Labels,
        duration: Duration,
    ) {
        let Some(meter) = self.routes.get(id.0) else {
            return;
        };
        meter.allowed.get_or_init(|| metrics.allowed(&route.id)).inc();
        if matches!(route.access, Access::Public(_)) {
            meter.public.get_or_init(|| metrics.public(&route.id)).inc();
        }
        meter
            .duration(metrics, &route.path, labels)
            .observe(duration.as_secs_f64());
    }

    /// A limit of the snapshot, by index and name, refused a request.
    pub fn limited(&self, metrics: &Metrics, limit: usize, name: &str) {
        if let Some(refused) = self.limits.get(limit) {
            refused.get_or_init(|| metrics.rate_limited(name)).inc();
        }
    }

    /// A target of this upstream is about to be asked.
    pub fn attempted(&self, metrics: &Metrics, target: TargetId, upstream: &Upstream) {
        if let Some(meter) = self.target(target) {
            let attempts = || metrics.upstream_attempts(&upstream.name, &upstream.target_name(target.1));
            meter.attempts.get_or_init(attempts).inc();
        }
    }

    /// The target has answered, after so long.
    pub fn answered(
        &self,
        metrics: &Metrics,
        target: TargetId,
        upstream: &Upstream,
        status: StatusCode,
        after: Duration,
    ) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(2);
        let meter = self.target(target).and_then(|meter| meter.answers.get(class));
        if let (Some(meter), Some(class)) = (meter, CLASSES.get(class)) {
            let name = || upstream.target_name(target.1);
            meter
                .get_or_init(|| metrics.upstream_duration(&upstream.name, &name(), class))
                .observe(after.as_secs_f64());
        }
    }

    fn target(&self, (upstream, target): TargetId) -> Option<&TargetMeter> {
        self.targets.get(upstream)?.get(target)
    }
}

impl Meter {
    fn new(route: &Route) -> Meter {
        Meter {
            fields: route_fields(&route.id, &route.path),
            ..Meter::default()
        }
    }

    fn duration(&self, metrics: &Metrics, path: &str, labels: Labels) -> Histogram {
        let known = self.durations.load();
        if let Some((_, histogram)) = known.iter().find(|(l, _)| *l == labels) {
            return histogram.clone();
        }
        let histogram = metrics.duration(Some(&labels.0), path, Some(labels.1), labels.2, "");
        // two threads may add the same at once; both are the same histogram
        self.durations.rcu(|known| {
            let mut known: Vec<_> = Vec::clone(known);
            known.push((labels.clone(), histogram.clone()));
            Arc::new(known)
        });
        histogram
    }
}
