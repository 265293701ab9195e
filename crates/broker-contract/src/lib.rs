//! The contract of [`Broker`](milepost_broker::Broker), as a suite of tests that every backend runs unchanged.
//!
//! To run it, a backend has a function from [`Settings`] to a [`Harness`], and calls the macro [`contract!`]. The ids of the
//! cases' jobs begin with a prefix of the harness, so several cases may share one server.

#[doc(hidden)]
pub mod children;
#[doc(hidden)]
pub mod expiry;
mod harness;
#[doc(hidden)]
pub mod health;
#[doc(hidden)]
pub mod listening;
#[doc(hidden)]
pub mod listing;
#[doc(hidden)]
pub mod logging;
#[doc(hidden)]
pub mod reporting;
#[doc(hidden)]
pub mod requesting;
#[doc(hidden)]
pub mod timeline;

pub use harness::{Harness, Notification, Recorder, Settings, eventually, numbers, update};

/// Defines a module with a test for each case of the contract. `setup` is an async function from [`Settings`] to a
/// [`Harness`].
#[macro_export]
macro_rules! contract {
    ($backend:ident, $setup:path) => {
        mod $backend {
            $crate::cases! { $setup;
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
                reporting::a_name_with_a_history_gives_an_estimate_at_once,
                reporting::a_name_with_a_history_gives_its_stages_weights,
                reporting::a_pause_does_not_count_as_duration,
                timeline::a_job_reported_once_has_a_timeline,
                timeline::stages_and_attempts_are_kept,
                timeline::a_forgotten_job_has_no_timeline,
                timeline::samples_are_a_second_apart,
                requesting::a_request_is_a_state_that_stays_through_the_attempt,
                requesting::of_equal_requests_at_once_the_first_counts,
                requesting::a_job_that_is_not_cancellable_gets_no_requests,
                listening::an_unknown_job_attaches_empty_and_then_gets_updates,
                listening::a_known_job_attaches_with_its_kept_states,
                listening::an_ended_job_attaches_with_its_end,
                listening::refused_and_repeated_reports_do_not_notify,
                listening::attaching_while_reports_are_under_way_leaves_no_gap,
                listening::another_listener_takes_the_place,
                listening::the_one_replaced_cannot_detach_the_other,
                listening::a_detached_listener_is_not_notified,
                listening::forgetting_notifies_and_so_does_the_next_life,
                listening::a_listener_is_notified_of_its_own_job_only,
                expiry::a_job_is_forgotten_after_its_time,
                expiry::each_update_prolongs,
                expiry::an_end_has_its_own_time,
                expiry::a_named_ttl_holds_for_the_updates_after_it,
                expiry::a_named_ttl_holds_after_the_end_too,
                expiry::a_ttl_can_be_shortened,
                expiry::expiry_notifies_the_listener,
                listing::the_most_recently_begun_come_first,
                listing::pages_hold_every_job_once,
                listing::pages_stay_right_while_jobs_begin,
                listing::statuses_and_prefix_select,
                listing::jobs_are_found_by_their_attributes,
                logging::lines_are_numbered_and_paged,
                logging::a_log_is_bounded_and_marks_the_gap,
                logging::a_log_goes_with_its_job,
                logging::followers_are_woken_by_lines,
            }
        }
    };
}

/// Defines a module with the cases of jobs with children, which [`contract!`] does not include.
#[macro_export]
macro_rules! children_contract {
    ($backend:ident, $setup:path) => {
        mod $backend {
            $crate::cases! { $setup;
                children::the_fixtures,
                children::a_parent_that_is_reported_later_has_its_children,
                children::an_end_shows_the_children_as_they_are,
                children::a_parent_progresses_up_to_its_root,
                children::cycles_and_deep_trees_are_refused,
                children::a_forgotten_child_counts_as_lost,
                children::a_job_ends_with_its_children,
                children::a_job_ends_whose_children_had_ended_before,
                children::many_children_lead_to_few_states,
                children::a_child_that_leaves_its_parent_does_not_count,
            }
        }
    };
}

/// Defines a module with the cases for backends in which a job's health changes with time, which [`contract!`] does not include.
#[macro_export]
macro_rules! health_contract {
    ($backend:ident, $setup:path) => {
        mod $backend {
            $crate::cases! { $setup;
                health::a_silent_workers_job_is_stalled_and_then_lost,
                health::a_lost_workers_job_ends_once,
                requesting::a_request_stands_when_health_changes,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! cases {
    ($setup:path; $($module:ident::$case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                $crate::$module::$case(async |settings| $setup(settings).await).await;
            }
        )+
    };
}
