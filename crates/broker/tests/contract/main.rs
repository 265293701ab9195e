//! The contract of [`Broker`](milepost_broker::Broker), as a suite that every backend passes unchanged.
//!
//! A backend joins by a function from [`Settings`](harness::Settings) to a
//! [`Harness`](harness::Harness), and a line at the end of this file. The cases use jobs whose ids begin
//! with the harness's own prefix, so that several may run against one server at once.

mod expiry;
mod harness;
mod listening;
mod listing;
mod reporting;

use std::sync::OnceLock;

use harness::{Harness, Settings};
use milepost_redis_servers::{Cluster, Server};

macro_rules! cases {
    ($setup:path; $($module:ident::$case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                crate::$module::$case(async |settings| $setup(settings).await).await;
            }
        )+
    };
}

macro_rules! contract {
    ($backend:ident, $setup:path) => {
        mod $backend {
            cases! { $setup;
                reporting::first_update_begins_the_job,
                reporting::states_are_the_folds,
                reporting::an_acknowledged_state_is_kept,
                reporting::an_end_is_latched,
                reporting::the_same_end_again_is_repeated,
                reporting::a_higher_attempt_starts_clean_and_a_lower_is_refused,
                reporting::reports_from_everywhere_have_one_order,
                reporting::the_first_of_many_ends_wins,
                reporting::one_end_reported_by_many_is_taken_once,
                reporting::jobs_do_not_touch_each_other,
                reporting::a_forgotten_job_begins_anew,
                reporting::history_is_the_latest_states_and_bounded,
                reporting::probe_proves_and_stats_count,
                listening::an_unknown_job_is_told_empty_and_then_live,
                listening::a_known_job_is_told_up_to_its_present_state,
                listening::an_ended_job_is_told_its_end,
                listening::refused_and_repeated_reports_are_not_told,
                listening::attaching_while_reports_are_under_way_leaves_no_gap,
                listening::another_listener_takes_the_place,
                listening::the_one_replaced_cannot_detach_the_other,
                listening::who_detached_hears_nothing,
                listening::forgetting_is_told_and_the_next_life_too,
                listening::a_listener_hears_of_its_own_job_only,
                expiry::a_job_is_forgotten_after_its_time,
                expiry::each_update_prolongs,
                expiry::an_end_has_its_own_time,
                expiry::a_named_ttl_holds_for_the_updates_after_it,
                expiry::a_named_ttl_holds_after_the_end_too,
                expiry::a_ttl_can_be_shortened,
                expiry::expiry_is_told,
                listing::the_most_recently_begun_come_first,
                listing::pages_hold_every_job_once,
                listing::pages_stay_right_while_jobs_begin,
                listing::statuses_and_prefix_select,
            }
        }
    };
}

/// The embedded broker in memory.
async fn in_memory(settings: Settings) -> Harness {
    harness::embedded(&settings, None)
}

/// The embedded broker with a data directory.
async fn on_disk(settings: Settings) -> Harness {
    let directory = tempfile::tempdir().expect("a directory for the test");
    harness::embedded(&settings, Some(directory))
}

/// Redis, a server for each case.
async fn single(settings: Settings) -> Harness {
    let server = Server::start();
    harness::redis(&settings, &server.url(), server).await
}

/// A Cluster of three primaries, shared by all cases: it takes some seconds to make.
async fn cluster(settings: Settings) -> Harness {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let cluster = tokio::task::block_in_place(|| CLUSTER.get_or_init(|| Cluster::start(0)));
    let hosts: Vec<_> = cluster.addresses().iter().map(ToString::to_string).collect();
    harness::redis(&settings, &format!("redis+cluster://{}", hosts.join(",")), ()).await
}

contract!(embedded_in_memory, crate::in_memory);
contract!(embedded_on_disk, crate::on_disk);
contract!(redis, crate::single);
contract!(redis_cluster, crate::cluster);
