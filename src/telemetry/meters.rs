//! Metrics of the allowed path, resolved once: a look-up by labels costs more than the counting.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Method;
use prometheus::{Histogram, IntCounter};

use super::metrics::Metrics;
use crate::gateway::{Access, Gateway, Route, RouteId};

/// The metrics of each route of a snapshot.
#[derive(Debug)]
pub struct Meters(Box<[Meter]>);

/// The metrics of one route.
#[derive(Debug, Default)]
struct Meter {
    allowed: OnceLock<IntCounter>,
    public: OnceLock<IntCounter>,
    durations: ArcSwap<Vec<(Labels, Histogram)>>,
}

/// What tells durations of one route apart. Few at a time: a route has few methods and its service few statuses.
type Labels = (Method, u16, &'static str);

impl Meters {
    /// For all routes of a snapshot; nothing is resolved yet.
    #[must_use]
    pub fn new(gateway: &Gateway) -> Meters {
        Meters(gateway.routes.iter().map(|_| Meter::default()).collect())
    }

    /// A request of a route was allowed, and is over.
    pub fn allowed(
        &self,
        metrics: &Metrics,
        (id, route): (RouteId, &Route),
        labels: Labels,
        duration: Duration,
    ) {
        let Some(meter) = self.0.get(id.0) else { return };
        meter.allowed.get_or_init(|| metrics.allowed(&route.id)).inc();
        if matches!(route.access, Access::Public(_)) {
            meter.public.get_or_init(|| metrics.public(&route.id)).inc();
        }
        meter
            .duration(metrics, &route.path, labels)
            .observe(duration.as_secs_f64());
    }
}

impl Meter {
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
