//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write;

use super::histogram::{BOUNDS, Histogram};
use super::{METRICS, STORES, StoreMetrics};

const PREFIX: &str = "baileys_vault";

/// A figure of the whole process.
pub struct ProcessGauge {
    /// Its name, without the common prefix.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Its value now.
    pub value: u64,
}

/// All metrics of this process.
pub fn render(process: &[ProcessGauge]) -> String {
    let stores: Vec<_> = STORES.iter().copied().zip(&METRICS).collect();
    render_stores(&stores, process)
}

fn render_stores(stores: &[(&str, &StoreMetrics)], process: &[ProcessGauge]) -> String {
    let mut text = String::with_capacity(8 * 1024);
    let counters: Vec<_> = stores
        .iter()
        .map(|(store, metrics)| (*store, metrics.counters()))
        .collect();
    let names = counters.first().map_or(0, |(_, rows)| rows.len());
    for at in 0..names {
        for (index, (store, rows)) in counters.iter().enumerate() {
            let row = &rows[at];
            if index == 0 {
                head(&mut text, row.name, "counter", row.help);
            }
            line(
                &mut text,
                format_args!("{PREFIX}_{}{{store=\"{store}\"}} {}", row.name, row.value),
            );
        }
    }
    head(&mut text, "open_sessions", "gauge", "Sessions open now.");
    for (store, metrics) in stores {
        let open = metrics.open_sessions.get();
        line(
            &mut text,
            format_args!("{PREFIX}_open_sessions{{store=\"{store}\"}} {open}"),
        );
    }
    durations(
        &mut text,
        stores,
        "commit_duration_seconds",
        "How long commits took, retries included.",
        |metrics| &metrics.commit_duration,
    );
    durations(
        &mut text,
        stores,
        "lease_renewal_lag_seconds",
        "How long after it was due a renewal of leases was answered.",
        |metrics| &metrics.renewal_lag,
    );
    for ProcessGauge { name, help, value } in process {
        head(&mut text, name, "gauge", help);
        line(&mut text, format_args!("{PREFIX}_{name} {value}"));
    }
    text
}

fn durations(
    text: &mut String,
    stores: &[(&str, &StoreMetrics)],
    name: &str,
    help: &str,
    histogram: impl Fn(&StoreMetrics) -> &Histogram,
) {
    head(text, name, "histogram", help);
    for (store, metrics) in stores {
        let (counts, sum) = histogram(metrics).cumulative();
        let bounds = BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        for (bound, count) in bounds.zip(counts) {
            line(
                text,
                format_args!("{PREFIX}_{name}_bucket{{store=\"{store}\",le=\"{bound}\"}} {count}"),
            );
        }
        let (sum, count) = (sum.as_secs_f64(), counts[BOUNDS.len()]);
        line(
            text,
            format_args!("{PREFIX}_{name}_sum{{store=\"{store}\"}} {sum}"),
        );
        line(
            text,
            format_args!("{PREFIX}_{name}_count{{store=\"{store}\"}} {count}"),
        );
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# HELP {PREFIX}_{name} {help}"));
    line(text, format_args!("# TYPE {PREFIX}_{name} {kind}"));
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_figure_is_rendered_once_under_its_name() {
        let (redis, mongodb) = (StoreMetrics::new(), StoreMetrics::new());
        redis.committed(3, Duration::from_micros(700));
        redis.committed(1, Duration::from_secs(60));
        mongodb.timeouts.increment();
        mongodb.open_sessions.rise();
        mongodb.renewed(Duration::from_millis(70), 2);
        let cache = ProcessGauge {
            name: "cache_bytes",
            help: "Bytes of records in memory.",
            value: 7,
        };
        let text = render_stores(&[("redis", &redis), ("mongodb", &mongodb)], &[cache]);
        for expected in [
            "# TYPE baileys_vault_commits_total counter",
            "baileys_vault_commits_total{store=\"redis\"} 2",
            "baileys_vault_commits_total{store=\"mongodb\"} 0",
            "baileys_vault_patches_total{store=\"redis\"} 4",
            "baileys_vault_timeouts_total{store=\"mongodb\"} 1",
            "baileys_vault_open_sessions{store=\"mongodb\"} 1",
            "# TYPE baileys_vault_commit_duration_seconds histogram",
            "baileys_vault_commit_duration_seconds_bucket{store=\"redis\",le=\"0.0005\"} 0",
            "baileys_vault_commit_duration_seconds_bucket{store=\"redis\",le=\"0.001\"} 1",
            "baileys_vault_commit_duration_seconds_bucket{store=\"redis\",le=\"10\"} 1",
            "baileys_vault_commit_duration_seconds_bucket{store=\"redis\",le=\"+Inf\"} 2",
            "baileys_vault_commit_duration_seconds_sum{store=\"redis\"} 60.0007",
            "baileys_vault_commit_duration_seconds_count{store=\"redis\"} 2",
            "baileys_vault_lease_renewal_lag_seconds_bucket{store=\"mongodb\",le=\"0.05\"} 0",
            "baileys_vault_lease_renewal_lag_seconds_bucket{store=\"mongodb\",le=\"0.1\"} 1",
            "baileys_vault_lease_renewal_failures_total{store=\"mongodb\"} 2",
            "baileys_vault_cache_bytes 7",
        ] {
            assert_eq!(
                text.lines().filter(|line| *line == expected).count(),
                1,
                "{expected}\nin\n{text}"
            );
        }
        let series: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').unwrap().0)
            .collect();
        assert_eq!(series.iter().collect::<HashSet<_>>().len(), series.len());
        assert!(text.ends_with('\n'));
    }
}
