//! The list of all cases of the conformance suite, by file, and the macro that creates a test for each.

/// Passes the list to another macro. For use by this crate only.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_list {
    ([$($then:tt)+] [$($arguments:tt)*]) => {
        $($then)+! {
            [$($arguments)*]
            adding {
                an_empty_batch_adds_nothing
                a_batch_is_claimed_in_the_order_given
                order_does_not_come_from_the_ids
                defaults_read_back
                every_option_reads_back
                extra_options_read_back_beside_the_default_policy
                no_timeout_reads_back_as_none
                a_timeout_is_rounded_up_to_milliseconds
                extreme_priorities_are_kept_and_ordered
                a_taken_id_refuses_the_whole_batch
                an_id_twice_in_a_batch_refuses_it
                an_unknown_parent_refuses_the_whole_batch
                a_refused_batch_can_be_added_after_it_was_mended
                a_large_batch_is_one_batch
                a_taken_id_refuses_a_large_batch
                records_come_in_the_order_asked_for
                what_does_not_exist_has_nothing
                concurrent_batches_are_each_whole
                an_addition_is_asked_back_by_its_id
                an_addition_that_was_asked_back_stores_nothing_later
                the_mark_of_a_refused_addition_is_deleted
            }
            encodings {
                marks_are_kept_until_the_body_stores_its_own_context
                a_result_is_in_the_encoding_of_its_language
                an_edited_payload_is_in_the_encoding_of_its_edit
                a_schedule_hands_its_marks_on
            }
            unique {
                a_held_key_gives_the_existing_task
                twins_in_one_batch_are_one_task
                until_finished_holds_through_run_and_retry
                every_final_state_frees_it
                a_fall_with_the_parent_frees_it
                until_started_is_free_once_it_runs
                until_started_is_free_once_it_is_cancelled
                for_a_time_holds_whatever_becomes_of_it
                the_existing_one_stands_in_as_a_parent
                the_existing_one_gives_the_result_that_is_an_argument
                a_retry_takes_the_key_again
                a_retry_is_refused_while_another_task_holds_the_key
                a_retry_is_refused_while_another_task_is_to_start_with_the_key
                a_retry_minds_a_key_that_is_held_for_a_time
                a_retry_is_refused_however_either_task_holds_the_key
                a_child_whose_key_is_taken_is_not_retried_with_its_parent
                a_parked_task_whose_key_is_taken_stays_parked
                of_concurrent_adders_one_wins
                a_purged_holder_frees_a_timed_key
            }
            claiming {
                an_empty_store_has_nothing
                priority_first_then_first_in_first_out
                the_limit_is_kept
                each_runtime_gets_its_own
                a_queue_filter_takes_only_its_queues
                a_queue_filter_sees_past_a_backlog
                a_claim_carries_all_that_running_needs
                a_plain_claim_has_no_parents_context_or_limit
                the_row_says_who_runs_it_since_when
                every_claim_has_tokens_of_its_own
                a_claim_is_read_back_by_its_id
                a_failed_task_tells_its_failures
                a_lapsed_lease_claims_nothing
                a_beat_keeps_the_lease
                a_stranger_claims_nothing
                a_task_past_its_time_is_marked
                a_place_never_hides_a_task_for_good
                a_place_keeps_the_order
                two_servers_never_get_the_same_task
                a_released_task_keeps_its_place_in_the_order
                what_is_not_enqueued_is_not_claimed
            }
            fencing {
                every_outcome_is_applied_once
                every_outcome_with_a_wrong_token_is_lost
                every_outcome_of_an_earlier_attempt_is_lost
                an_unclaimed_task_takes_no_write
                a_zombie_changes_nothing
                a_lapsed_server_that_was_not_rescued_may_finish
                a_retry_by_a_person_clears_the_token
                a_batch_applies_what_it_can
                a_mixed_batch_applies_each_its_own
                a_write_twice_in_a_batch_counts_once
                of_concurrent_ends_one_decides
                records_are_fenced_too
                closing_a_claim_leaves_nothing_to_rescue
            }
            snapshots {
                it_follows_a_task_through_its_life
                waiting_ones_say_why
                only_unknown_attempts_are_told_and_the_last
                a_known_context_is_not_told_again
                one_look_answers_for_many_in_their_order
                failures_are_told_without_traceback
            }
            counters {
                a_claim_counts_an_attempt
                a_retry_counts_a_failure_and_waits
                failures_add_up_over_attempts
                a_dead_letter_keeps_the_failure
                a_result_is_stored_with_its_time
                a_snooze_costs_nothing_but_the_attempt
                a_release_costs_nothing
                crashes_make_it_run_alone_then_dead
                a_death_beside_others_is_counted_for_none
                at_most_once_dies_of_its_first_crash
                at_most_once_dies_of_a_death_beside_others
                at_most_once_may_be_released
                what_had_begun_is_released_unless_it_may_run_only_once
                alone_lasts_until_it_ends
                an_interruption_without_a_request_cancels
                a_zero_pause_is_enqueued_at_once
            }
            attempts {
                one_that_never_ran_has_none
                the_running_one_is_shown
                every_end_is_kept
                released_and_parked_ones_leave_none
                final_ones_say_how_they_ended
                a_retry_by_a_person_keeps_them
                a_cancel_between_two_attempts_adds_none
                a_lost_one_names_its_server
                a_death_beside_others_is_kept_as_lost
                a_dead_letter_by_crashes_has_three
            }
            schedules {
                every_option_reads_back
                a_name_that_is_taken_is_refused_kept_or_replaced
                they_are_listed_by_name_in_pages
                a_look_finds_what_is_due_and_says_when_the_next_is
                a_tick_adds_its_task_and_its_history
                a_tick_on_an_older_version_changes_nothing
                of_concurrent_deciders_one_enqueues
                a_held_run_begins_when_the_one_before_it_has_ended
                a_pause_lets_times_pass_and_a_resume_goes_on_from_now
                a_one_off_is_kept_and_does_not_run_again
                a_run_asked_for_runs_beside_all_others
                a_unique_key_gives_the_existing_task
                a_removed_schedule_leaves_its_tasks
                history_is_bounded_and_keeps_what_is_open
                what_changes_rings
            }
            deaths {
                each_death_is_taken_by_one_server
                what_was_told_is_told_no_more
                the_taker_gets_again_what_it_took
                what_a_dead_taker_had_goes_to_another
                what_is_left_to_others_is_theirs
                only_of_its_runtime_and_queues
                only_of_its_namespace
                one_that_was_declared_dead_gets_none
                a_retry_takes_the_letter_away
                who_dies_again_is_told_again
                what_died_long_ago_is_told_no_more
                every_way_to_die_counts
                whatever_happens_each_death_is_told_once
            }
            rates {
                a_bucket_of_starts_empties_and_fills
                it_says_when_more_may_start
                what_waits_for_its_rate_holds_up_no_other
                of_concurrent_claims_none_takes_too_many
                what_was_there_before_keeps_to_it
                a_clock_that_was_ahead_holds_nothing_up
                a_shorter_period_counts_from_now
                a_lifted_rate_frees_all
                the_same_rate_again_changes_nothing
                with_a_limit_and_a_pause
                what_must_run_alone_keeps_to_it
                whatever_happens_a_rate_is_kept
            }
            rescue {
                a_lost_task_runs_again_unblamed
                a_rescued_task_comes_before_younger_ones
                a_live_server_keeps_its_tasks
                a_beat_since_the_suspicion_saves_it
                an_overdue_server_needs_no_lapsed_lease
                a_dead_server_is_told_and_claims_no_more
                an_idle_server_dies_too
                a_stranger_cannot_be_rescued
                a_rescue_twice_counts_once
                what_another_server_runs_is_left_alone
                thousands_are_freed_in_bounded_steps
                a_rescue_half_done_is_carried_on
                finished_ones_stay_finished
                a_task_that_moved_on_is_not_taken
                from_the_third_loss_it_runs_alone
                one_that_kills_its_server_alone_is_a_crash
                at_most_once_dies_of_its_first_loss
                a_death_by_rescue_takes_the_children_along
                requests_outlive_the_server
                a_new_boot_of_the_same_host_is_another_server
            }
            servers {
                a_server_is_shown_as_it_entered
                a_beat_is_shown
                a_lapsed_one_is_not_running
                a_late_beat_revives_an_undeclared_one
                a_beat_may_change_the_lease
                one_that_left_is_gone
                a_stranger_beats_in_vain
                a_dead_one_is_shown_for_a_day
                leaving_with_a_running_task_frees_it
            }
            requests {
                a_cancel_reaches_the_server_with_every_beat
                a_stop_reaches_the_server
                every_end_but_success_is_cancelled
                every_end_but_success_is_stopped
                a_success_wins_over_both
                a_cancel_after_the_success_loses
                cancel_wins_over_stop
                asking_twice_is_asking_once
                a_request_dies_with_its_attempt
                the_history_says_cancelled
                a_cancelled_run_cancels_its_children
                a_stopped_run_leaves_its_children_waiting
                a_cancel_and_a_success_at_once_agree
            }
            priorities {
                priority_in_every_state
                a_new_priority_moves_the_place
                a_new_priority_moves_within_every_lane
                a_waiting_task_starts_with_its_new_priority
                a_claim_and_a_new_priority_at_once_agree
                a_cancel_finds_a_moved_task
            }
            ageing {
                nothing_ages_unless_it_is_told
                what_stands_long_moves_up
                missed_times_count_at_once
                what_was_there_before_ages_from_then_on
                an_aged_task_can_be_cancelled_and_moved
                what_is_given_back_starts_anew
                ageing_ends_and_all_goes_back
                ageing_goes_in_bounded_steps
                the_highest_priority_is_the_end
                everything_at_once_loses_nothing
            }
            edits {
                edit_in_every_state
                an_edited_task_runs_with_what_it_was_given
                an_edit_of_something_else_is_refused
                filters_by_error_and_time
            }
            control {
                cancel_in_every_state
                stop_in_every_state
                retry_in_every_state
                what_does_not_exist_is_not_found
                answers_come_in_the_order_asked
                a_cancelled_task_says_when
                why_it_was_cancelled_is_kept_until_a_retry
                a_cancelled_wait_does_not_come_due
                cancelling_a_parent_cancels_its_descendants
                cancelling_a_stopped_parent_cancels_its_children
                cancelling_a_parent_and_its_child_in_one_call
                thousands_are_cancelled_in_one_call
                a_claim_and_a_cancel_at_once_agree
            }
            retrying {
                it_starts_afresh
                it_comes_before_younger_ones
                the_context_stays
                times_do_not_apply_again
                fallen_descendants_wait_again
                cancelled_descendants_wait_again
                they_fall_again_with_a_second_failure
                one_cancelled_by_a_person_stays_down
                a_fallen_child_falls_again_while_its_parent_is_down
                a_child_waits_for_an_unfinished_parent_again
                a_parent_done_meanwhile_is_no_longer_waited_for
                a_parent_failed_meanwhile_lets_a_clean_up_run
                a_second_parent_still_down_takes_it_again
                a_done_parent_stays_done_for_those_that_get_up
                a_child_with_a_delay_waits_for_its_parent_only
                a_wide_fall_gets_up_as_a_whole
                a_retried_dead_letter_is_no_longer_listed_as_one
            }
            parents_added {
                a_child_waits_for_its_parent
                parents_of_the_same_batch
                a_child_before_its_parent_in_the_batch
                a_batch_and_the_store_at_once
                a_done_parent_is_not_waited_for
                a_fallen_parent_takes_it_at_once
                the_policies_under_a_fallen_parent
                a_child_of_a_fallen_one_names_the_first_ancestor
                a_whole_batch_under_a_fallen_parent_falls
                unfinished_and_stopped_parents_are_waited_for
                a_delay_counts_from_the_addition
                a_due_time_does_not_overrule_a_parent
                results_come_in_the_order_given
                added_while_the_parent_finishes
                added_while_the_parent_fails
            }
            parents_finish {
                all_parents_must_be_done
                all_at_once_in_one_batch
                the_last_two_at_the_same_moment
                a_retry_of_the_parent_is_not_a_failure_yet
                a_failure_takes_every_generation
                each_policy_under_a_failure
                a_clean_up_waits_for_all_parents_to_end
                a_clean_up_in_the_middle_stops_the_fall
                a_patient_child_runs_after_the_retry
                a_diamond_joins_once
                a_diamond_falls_once
                the_first_of_two_failures_is_named
                children_are_told_of_a_cancelled_wait
                children_follow_their_own_priority
            }
            graphs {
                a_long_chain_is_done_link_by_link
                a_failure_runs_down_a_long_chain
                a_long_chain_gets_up_again
                a_cancel_runs_down_a_long_chain
                a_wide_fan_is_released
                a_wide_fan_falls
                a_cascade_is_worked_off_by_another_server
                a_cascade_goes_in_bounded_steps
                a_child_added_during_a_cascade_is_not_lost
                a_wide_join_fires_once
                dense_layers_go_through
            }
            parking {
                a_parked_task_waits_with_its_reason
                reasons_are_counted
                unparking_frees_one_reason_of_one_runtime
                thousands_are_unparked_in_bounded_steps
                a_parked_task_can_be_cancelled
                a_parked_task_may_expire
                any_text_is_a_reason
            }
            kinds {
                a_refused_task_is_left_to_builds_that_may_know_it
                what_is_added_later_is_not_claimed_by_the_build_that_refused
                whatever_makes_it_runnable_puts_it_there
                it_is_parked_once_every_live_build_has_refused
                the_only_build_parks_at_once
                a_server_that_says_nothing_has_refused_nothing
                a_dead_server_counts_no_more
                servers_of_other_queues_do_not_count
                runtimes_are_apart
                priority_and_order_hold_across_groups
                thousands_are_regrouped_in_bounded_steps
                many_kinds_share_few_groups
                a_build_that_is_gone_is_forgotten_after_a_minute
                groups_that_become_the_same_are_one
                what_must_run_alone_is_refused_like_any_other
                limits_and_pauses_count_for_all_groups_of_a_queue
                a_queue_that_is_set_apart_takes_its_groups_along
                people_reach_it_in_its_group
                a_queue_that_ages_ages_in_every_group
                a_key_that_was_held_until_the_start_is_taken_again
                a_request_wins_over_a_refusal
                a_server_may_become_another_build
                a_claim_that_goes_on_from_a_place_reads_all_groups
            }
            timers {
                a_delayed_task_waits_for_its_time
                an_instant_is_as_good_as_a_delay
                a_time_that_is_past_starts_at_once
                the_next_due_time_is_told
                a_backoff_is_a_due_time
                thousands_become_due_in_bounded_steps
                a_promoted_task_goes_where_it_belongs
                concurrent_promoters_move_each_once
                times_far_in_the_future_are_accepted
            }
            expiry {
                an_enqueued_task_expires
                a_waiting_task_expires
                the_next_expiry_is_told
                its_children_are_cancelled_with_it
                a_running_task_does_not_expire
                one_that_has_started_is_retried_all_the_same
                a_claimed_one_is_ended_uncounted
                a_finished_one_does_not_expire
                thousands_expire_in_bounded_steps
            }
            removal {
                auto_remove_keeps_it_for_a_minute
                auto_remove_waits_for_the_children
                a_retry_takes_the_removal_back
                an_unfinished_one_is_never_removed
                retention_differs_by_state
                retention_spares_what_is_unfinished
                retention_goes_in_bounded_steps
                retention_comes_back_for_what_it_passed
                retention_by_number_takes_the_oldest
                retention_by_number_spares_parents_and_the_young
                purge_takes_final_tasks_only
                purge_spares_a_parent_of_the_unfinished
                purge_leaves_nothing_of_a_task
            }
            ends_aside {
                every_end_reads_back
                it_is_fenced
                no_rescue_frees_its_task
                its_server_may_leave
                the_last_word_counts
                it_has_no_place_in_a_limit
                what_a_server_holds_is_shown
            }
            held {
                what_runs_of_a_claim_is_told
                a_page_of_claims_leads_to_the_next
                a_lost_end_counts_as_a_lost_server
                a_lost_end_gives_way_to_a_request
            }
            queues {
                a_paused_queue_is_passed_by
                a_resumed_queue_goes_on_in_order
                every_way_in_keeps_to_the_pause
                a_task_that_must_run_alone_keeps_to_the_pause
                what_runs_goes_on_in_a_paused_queue
                a_new_queue_can_be_configured
                a_limit_holds_over_two_servers
                a_limit_holds_under_concurrent_claims
                every_end_makes_room
                a_full_queue_holds_up_no_other
                a_lifted_limit_frees_all
                a_lowered_limit_ends_nothing
                a_limit_is_shared_by_both_runtimes
                pause_and_limit_together
                priority_holds_over_lanes
                a_filter_by_queue_keeps_to_the_limit
                a_queue_set_apart_is_claimed_as_before
                a_queue_set_apart_can_be_paused_and_limited
                thousands_are_set_apart_in_steps
                figures_of_a_queue
                any_text_is_a_queue
            }
            context {
                none_is_an_empty_object
                it_is_written_while_it_runs
                it_is_kept_over_attempts
                the_end_writes_the_last_one
                an_end_without_one_leaves_it
                a_lost_attempt_writes_nothing
                a_batch_writes_each_its_own
                its_bytes_are_exact
            }
            logs {
                a_line_reads_back_whole
                lines_keep_their_order
                reading_resumes_after_any_line
                each_task_has_its_own
                lines_name_their_attempt
                a_lost_attempt_writes_none
                a_repeated_end_writes_them_once
                a_nul_in_a_line_stops_nothing
            }
            payloads {
                arguments_are_exact
                arguments_are_exact_one_by_one
                results_are_exact
                a_mebibyte_each_way
                error_texts_are_kept
                a_nul_in_an_error_stops_nothing
                a_nul_in_a_name_is_stored_or_refused
            }
            listing {
                pages_go_from_the_newest_to_the_oldest
                filters_narrow_the_list
                finished_before_an_instant
                a_selection_is_paged_in_id_order
                a_selection_takes_every_filter
                filters_are_not_patterns
                finals_are_those_that_ended
                finals_of_thousands
                children_are_listed_up_to_a_limit
            }
            status {
                an_empty_database
                states_are_counted
                the_oldest_enqueued_ages
                a_paused_queue_does_not_age
                servers_and_parked_are_counted
            }
            clock {
                it_runs_by_itself
                it_can_be_moved_and_reset
                it_can_stand_still
                a_skewed_host_changes_nothing
                a_jump_ahead_makes_things_due
            }
            schema {
                migrating_again_does_nothing
                many_may_migrate_at_once
                it_says_what_and_where_it_is
                a_closed_store_says_so
            }
            query {
                columns_and_values_come_back
                numbers_come_back_with_every_digit
                a_limit_says_that_there_is_more
                the_documents_views_are_there
                odd_bytes_do_not_break_the_views
                nothing_that_writes_is_run
                a_wrong_statement_is_a_sentence
            }
            notifications {
                work_rings_when_something_can_be_claimed
                work_rings_for_children_timers_and_queues
                work_rings_when_a_timer_came_nearer
                finished_rings_for_waiters
                signal_rings_for_servers
            }
        }
    };
}

/// Creates one test per case of the conformance suite, each on a fresh store.
///
/// Takes a function (or closure) without arguments that returns the future of a
/// [`Fixture`](crate::conformance::Fixture) with a migrated store; see [`mod@crate::conformance`] for a complete
/// example.
#[macro_export]
macro_rules! conformance {
    ($factory:expr $(,)?) => {
        fn __conformance_fixture() -> impl ::std::future::Future<Output = $crate::conformance::Fixture> {
            ($factory)()
        }

        $crate::__conformance_list! { [$crate::__conformance_tests] [] }
    };
}

/// Creates the tests. For use by this crate only.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ([] $($subject:ident { $($case:ident)* })*) => {
        $(
            mod $subject {
                $(
                    #[test]
                    fn $case() {
                        $crate::conformance::run(stringify!($subject), stringify!($case), super::__conformance_fixture);
                    }
                )*
            }
        )*
    };
}
