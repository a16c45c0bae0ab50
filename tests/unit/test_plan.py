"""The plan of a crew: who does what, and what a death leaves; without any process."""

from holdfast.crew.plan import Bundle, Hand, Job, Line, Plan, Shelf, Trade


def job_of(values, chunk=1, **options):
    job = Job(b"function", True, chunk=chunk, **options)
    job.waiting = Shelf(list(values))
    job.ended = True
    return job


def plan_with(*jobs, hands=1, most=None):
    plan = Plan(most, hands)
    for number in range(hands):
        plan.hands[number] = Hand(number)
    for job in jobs:
        plan.add(job)
    return plan


class Slip:
    """Takes a result."""

    def __init__(self, wanted=True):
        self.wanted, self.settled = wanted, []

    def starting(self):
        return self.wanted

    def settle(self, value, success):
        self.settled.append((value, success))


def plan_with_calls(count, cost=None, hands=1):
    """A plan with single calls of one function whose cost is known from one before."""
    plan = plan_with(hands=hands)
    trade = Trade(b"function", True, "f")
    if cost is not None:
        plan.add_single(trade, Slip(), "first")
        hand, batch = plan.give()
        plan.arrived(hand.number, batch.number, 1, cost)
    slips = [Slip() for _ in range(count)]
    for number, slip in enumerate(slips):
        plan.add_single(trade, slip, number)
    return plan, slips


def test_plan_job_given_in_chunks_in_order():
    plan = plan_with(job_of(range(5), chunk=2), hands=3)
    given = [plan.give() for _ in range(3)]
    assert [(hand.number, batch.start, batch.values) for hand, batch in given] == [
        (0, 0, [0, 1]),
        (1, 2, [2, 3]),
        (2, 4, [4]),
    ]
    assert plan.give() is None


def test_plan_hand_with_two_batches_of_unknown_cost_gets_no_more():
    plan = plan_with(job_of(range(5)))
    assert [plan.give() is not None for _ in range(3)] == [True, True, False]
    assert plan.full


def test_plan_tasks_that_cost_little_travel_many_in_a_batch_up_to_a_bound_of_work():
    job = job_of(range(1000))
    job.cost = 1e-5
    plan = plan_with(job)
    sizes = []
    while (gift := plan.give()) is not None:
        sizes.append(gift[1].count)
    assert max(sizes) > 10
    assert sum(sizes) * job.cost < 0.02


def test_plan_fixed_job_is_given_in_batches_of_its_chunk_whatever_they_cost():
    job = job_of(range(10), chunk=3)
    job.cost, job.fixed = 1e-9, True
    plan = plan_with(job, hands=4)
    assert [plan.give()[1].values for _ in range(4)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_plan_results_arrive_batch_is_done_and_plan_idle():
    plan = plan_with(job_of(range(4), chunk=4))
    hand, batch = plan.give()
    assert plan.arrived(hand.number, batch.number, 3, 0.1) is batch
    assert not plan.idle()
    assert plan.outstanding() == 1
    assert plan.arrived(hand.number, batch.number, 1, 0.1) is batch
    assert plan.idle()
    assert plan.arrived(hand.number, batch.number, 1, 0.1) is None


def test_plan_hand_dies_while_it_ran_that_task_is_lost_and_the_rest_given_again():
    plan = plan_with(job_of(range(10), chunk=5))
    hand, batch = plan.give()
    _, second = plan.give()
    plan.arrived(hand.number, batch.number, 1, 0.1)
    after = plan.died(hand, batch.number, 0, 3, None)
    assert (after.batch, after.skip, list(after.lost), after.sending) == (batch, 1, [3], False)
    assert [(b.start, b.values) for b in plan.again] == [(4, [4]), (5, [5, 6, 7, 8, 9])]
    assert plan.again[1] is second


def test_plan_hand_dies_while_it_sent_only_what_had_finished_is_lost():
    plan = plan_with(job_of(range(5), chunk=5))
    hand, batch = plan.give()
    after = plan.died(hand, batch.number, 0, 2, 3)
    assert list(after.lost) == [2]
    assert after.sending
    assert [b.values for b in plan.again] == [[3, 4]]


def test_plan_hand_dies_after_all_was_sent_nothing_is_lost():
    plan = plan_with(job_of(range(5), chunk=5))
    hand, batch = plan.give()
    plan.arrived(hand.number, batch.number, 4, 0.1)
    after = plan.died(hand, batch.number, 4, 1, 5)
    assert list(after.lost) == []
    assert plan.idle()


def test_plan_hand_dies_before_it_began_everything_is_given_again():
    plan = plan_with(job_of(range(2)))
    hand, first = plan.give()
    _, second = plan.give()
    after = plan.died(hand, 0, 0, 0, None)
    assert after.batch is None
    assert list(plan.again) == [first, second]


def test_plan_hand_with_a_limit_gets_that_many_batches_and_no_more():
    plan = plan_with(job_of(range(5)), most=2)
    hand, batch = plan.give()
    assert plan.give() is None
    plan.arrived(hand.number, batch.number, 1, 0.1)
    hand, batch = plan.give()
    assert not hand.open
    plan.arrived(hand.number, batch.number, 1, 0.1)
    assert plan.give() is None


def test_plan_last_batch_of_a_hand_could_not_be_given_it_gets_another():
    plan = plan_with(job_of(range(2)), most=1)
    hand, batch = plan.give()
    assert not hand.open
    plan.withdrawn(hand, batch)
    assert plan.give()[0] is hand


def test_plan_credit_bounds_what_is_given():
    job = job_of(range(5))
    job.credit = 2
    plan = plan_with(job, hands=5)
    assert [plan.give() is not None for _ in range(3)] == [True, True, False]
    job.credit = 1
    assert plan.give() is not None


def test_plan_single_calls_and_a_job_take_turns():
    plan, _ = plan_with_calls(2, hands=4)
    plan.add(job_of("ab"))
    values = [plan.give()[1].values[0] for _ in range(4)]
    assert set(values) == {0, 1, "a", "b"}
    assert values.index(0) < 2
    assert values.index("a") < 2


def test_plan_single_calls_of_unknown_cost_travel_alone():
    plan, _ = plan_with_calls(5, hands=2)
    assert [plan.give()[1].count for _ in range(4)] == [1, 1, 1, 1]
    assert plan.give() is None


def test_plan_single_calls_that_cost_little_travel_together_shared_among_the_hands():
    plan, slips = plan_with_calls(100, cost=1e-6, hands=2)
    hand, batch = plan.give()
    assert batch.count == 50
    other, _ = plan.give()
    assert other is not hand
    batch.job.deliver(0, None, list("ab"))
    batch.job.fail(2, KeyError())
    assert [slip.settled for slip in slips[:2]] == [[("a", True)], [("b", True)]]
    assert slips[2].settled[0][1] is False
    assert not slips[3].settled
    assert batch.job.number(3) == 4  # there was one before


def test_plan_single_calls_of_two_functions_do_not_travel_together():
    plan, _ = plan_with_calls(3, cost=1e-6)
    plan.add_single(Trade(b"other", True, "g"), Slip(), "other")
    assert plan.give()[1].values == [0, 1, 2]
    assert plan.give()[1].values == ["other"]


def test_plan_single_call_nobody_wants_is_not_given():
    plan = plan_with()
    plan.add_single(Trade(b"function", True, "f"), Slip(wanted=False), 1)
    assert plan.give() is None
    assert plan.idle()


def test_plan_tail_taken_back_is_given_in_pieces_and_the_batch_ends_before_it():
    plan = plan_with(job_of(range(10), chunk=10), hands=2)
    hand, batch = plan.give()
    plan.revoked(hand, hand.batches[0], 4, 10)
    assert [(b.start, b.values) for b in plan.again] == [(4, [4, 5, 6]), (7, [7, 8, 9])]
    assert plan.arrived(hand.number, batch.number, 4, 0.1) is batch
    assert not hand.batches


def test_plan_tail_taken_back_after_all_before_it_arrived_ends_the_batch():
    plan = plan_with(job_of(range(3), chunk=3))
    hand, batch = plan.give()
    plan.arrived(hand.number, batch.number, 1, 0.1)
    plan.revoked(hand, hand.batches[0], 1, 3)
    assert not hand.batches


def test_plan_hand_dies_after_its_tail_was_taken_back_nothing_is_given_twice():
    plan = plan_with(job_of(range(10), chunk=10))
    hand, batch = plan.give()
    plan.revoked(hand, hand.batches[0], 4, 10)
    after = plan.died(hand, batch.number, 0, 2, None, claimed=4)
    assert list(after.lost) == [2]
    assert sorted(value for b in plan.again for value in b.values) == [3, 4, 5, 6, 7, 8, 9]


def test_plan_hand_dies_before_it_claimed_a_task_none_is_lost():
    plan = plan_with(job_of(range(3), chunk=3))
    hand, batch = plan.give()
    after = plan.died(hand, batch.number, 0, 0, None, claimed=0)
    assert list(after.lost) == []
    assert [b.values for b in plan.again] == [[0, 1, 2]]


def test_plan_single_call_withdrawn_from_a_bundle_taken_back_leaves_the_others():
    plan, slips = plan_with_calls(5, cost=1e-6)
    hand, batch = plan.give()
    assert isinstance(batch.job, Bundle)
    assert not plan.withdraw(slips[2])
    plan.recalled(hand, [batch.number])
    assert plan.withdraw(slips[2])
    assert [b.values for b in plan.again] == [[0, 1], [3, 4]]
    assert [plan.place(b, slips[4]) for b in plan.again] == [None, 1]


def test_plan_retries_end_after_as_many_as_allowed():
    job = job_of(range(1), retries=2)
    plan = plan_with(job)
    assert [plan.retry(job, 0, 0) for _ in range(3)] == [True, True, False]


def test_plan_shares_of_a_job_are_of_one_size_and_larger_if_its_tasks_are_small():
    job = job_of(range(100), chunk=-1)
    assert len(job.cut(2)) == 13
    job.cost = 0.1
    assert len(job.cut(2)) == 13
    job.cost = 1e-5
    assert len(job.cut(2)) == 50


def test_line_take_more_than_there_is_gives_all():
    line = Line([1, 2, 3])
    assert line.take(2) == [1, 2]
    assert line.take(5) == [3]
    assert not line


def test_plan_tail_of_a_batch_behind_one_whose_results_are_on_their_way_nothing_is_left_of_it():
    plan = plan_with(job_of(range(10), chunk=5))
    hand, first = plan.give()
    _, second = plan.give()
    plan.revoked(hand, second, 0, 5)
    assert list(hand.batches) == [first]
    assert [piece.values for piece in plan.again] == [[5, 6, 7, 8, 9]]


def test_plan_hand_that_is_stuck_gets_nothing_and_one_that_is_ready_comes_first():
    plan = plan_with(job_of(range(5)), hands=3)
    stuck, starting, ready = plan.hands.values()
    assert plan.give()[0] is stuck
    stuck.stuck, ready.ready = True, True
    assert [plan.give()[0] for _ in range(4)] == [ready, starting, ready, starting]
    assert plan.give() is None


def test_plan_hand_that_was_stuck_and_has_nothing_left_gets_more():
    plan = plan_with(job_of(range(4), chunk=4))
    hand, batch = plan.give()
    plan.arrived(hand.number, batch.number, 2, 0.1)
    hand.stuck = True
    plan.revoked(hand, batch, 2, 4)
    assert not hand.batches
    assert plan.give()[0] is hand
