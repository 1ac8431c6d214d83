//! The suite that every engine passes.
//!
//! A story is a function of a [`Bench`], which an engine provides; [`journal_suite!`](crate::journal_suite)
//! makes a `#[test]` of each. Stories know an engine by its contract alone. What an engine cannot
//! show (a restart, where it keeps nothing) it says in [`Bench::durable`], and the stories that need it
//! check what must hold in its place. A story that an engine cannot
//! tell at all, for its clock is not ours to move or its server keeps another rule, it refuses by name in
//! [`Bench::cannot`], with the reason.

mod bench;
pub mod consumers;
pub mod crash;
pub mod deliveries;
pub mod fetches;
pub mod groups;
pub mod reads;
pub mod records;
pub mod streams;

pub use bench::{Bench, Fetched, Table};

/// Makes a test of each story. `$make` is an expression that gives a fresh [`Bench`].
///
/// ```text
/// journal::journal_suite!(MyBench::new());
/// ```
#[macro_export]
macro_rules! journal_suite {
    ($make:expr) => {
        $crate::journal_suite!(@room streams, $make,
            positions_are_consecutive_and_start_at_one
            a_message_comes_back_as_it_was
            a_subject_that_no_stream_captures_is_refused
            overlapping_streams_are_refused_and_both_named
            a_stream_declared_twice_alike_is_one_stream
            a_faulty_declaration_names_its_field
            new_limits_take_effect_at_once
            what_cannot_change_is_refused
            a_deleted_stream_is_gone_and_its_subjects_are_free
            retention_by_count_keeps_the_newest
            retention_by_bytes_keeps_the_newest
            retention_by_age_lets_the_old_go
            retention_by_count_per_subject_keeps_the_newest_of_each
            discard_new_refuses_when_full
            discard_new_per_subject_refuses_when_full
            a_message_over_the_maximum_is_refused
            a_message_id_counts_once_in_its_window
            the_window_survives_a_restart
            preconditions_hold_or_refuse
            a_lifetime_of_its_own_ends
            a_lifetime_is_refused_where_it_is_not_allowed
            purge_removes_what_it_names
            a_deleted_message_leaves_a_gap
            denied_is_denied
            memory_storage_forgets_messages_and_keeps_the_stream
            everything_acknowledged_survives_a_crash
            the_clock_may_step_back
        );
        $crate::journal_suite!(@room reads, $make,
            a_page_says_where_to_go_on
            a_read_may_start_at_a_moment
            a_filtered_read_gives_what_matches
            the_last_of_each_subject
            the_last_of_a_subject_or_pattern
            one_message_by_its_position
            a_read_that_waits_follows
            a_read_that_waits_ends_with_its_wait
            a_page_is_bounded_by_bytes
            subjects_are_listed_in_order
            a_stream_that_is_not_there
        );
        $crate::journal_suite!(@room records, $make,
            a_rollup_takes_the_place_of_what_was_before
            a_rollup_finds_room_in_a_full_subject
            a_batch_is_recorded_as_one
            a_batch_is_refused_as_one
            limits_hold_within_a_batch
            a_marker_says_that_a_subject_is_empty
            age_leaves_a_marker
            a_message_may_live_for_ever
            positions_may_be_given
            a_stream_may_start_later
            sealed_is_sealed
            a_transform_changes_the_subject
            consumers_are_counted
            what_is_deleted_is_told
            the_version_grows_with_what_is_captured
            the_last_of_each_up_to_a_place
            everything_declared_survives
        );
        $crate::journal_suite!(@room consumers, $make,
            a_consumer_needs_its_stream
            a_consumer_declared_twice_alike_is_one_consumer
            every_start_starts_where_it_says
            a_filter_takes_what_matches
            acknowledged_is_done_and_the_rest_comes_again
            acknowledging_all_reaches_back
            without_acknowledgement_delivered_is_done
            backoff_sets_the_waits
            a_negative_acknowledgement_brings_it_back
            progress_counts_the_wait_anew
            a_message_given_up_is_a_dead_letter
            too_many_deliveries_make_a_dead_letter
            no_more_are_outstanding_than_allowed
            a_paused_consumer_delivers_nothing
            an_ephemeral_consumer_goes_when_nobody_asks
            a_fetch_is_bounded_by_batch_bytes_and_wait
            a_waiting_fetch_gets_what_arrives
            competing_workers_share_and_none_is_lost
            what_a_gone_worker_left_goes_to_another
            a_push_goes_on_until_it_is_closed
            tokens_are_judged
            acknowledgements_survive_a_restart
            an_unacknowledged_message_survives_a_crash
            a_work_queue_lets_go_of_what_is_done
            interest_lets_go_when_all_are_done
            a_deleted_consumer_ends_its_fetches
        );
        $crate::journal_suite!(@room deliveries, $make,
            what_comes_again_comes_before_what_is_new
            an_acknowledgement_of_an_older_delivery_counts
            a_removed_message_is_done_with
            a_dead_letter_tells_its_history
            dead_letters_can_be_off
            an_update_keeps_what_is_outstanding
            filters_change_with_an_update
            a_work_queue_refuses_shared_messages
            interest_keeps_nothing_that_nobody_wants
            a_consumer_that_goes_takes_its_interest_along
            receipts_come_in_order_of_position
            what_is_refused_takes_no_position
        );
        $crate::journal_suite!(@room fetches, $make,
            fetches_take_turns
            a_sink_that_pauses_is_asked_again
            a_sink_whose_user_left_is_found_out
            the_last_message_says_that_none_is_left
            no_more_fetches_wait_than_allowed
            a_consumer_says_where_it_stands
            a_read_waits_only_for_what_it_wants
            a_dropped_read_disturbs_nobody
            a_stream_that_goes_ends_the_reads_that_wait_on_it
        );
        $crate::journal_suite!(@room groups, $make,
            the_floor_names_the_delivery_it_is_at
            a_token_without_a_tag_must_be_of_a_delivery
            a_consumer_limits_its_fetches
            one_user_is_pinned_until_it_is_let_go
            thresholds_and_numbers_say_who_is_served
            a_reset_starts_over
            what_is_pending_is_counted
            a_watcher_is_told
        );
        $crate::journal_suite!(@room crash, $make,
            streams_survive_as_declared
            removals_survive
            consumers_survive_as_declared
            deliveries_are_counted_on
            a_start_at_the_last_of_each_survives
            what_a_work_queue_lost_sight_of_is_found
        );
    };
    (@room $room:ident, $make:expr, $($story:ident)*) => {
        mod $room {
            use super::*;
            $(
                #[test]
                fn $story() {
                    let mut table = $crate::suite::Table::new(Box::new($make));
                    if table.can(stringify!($story)) {
                        $crate::suite::$room::$story(&mut table);
                    }
                }
            )*
        }
    };
}
