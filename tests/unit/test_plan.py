"""The plan of a crew: who does what, and what a death leaves; without any process."""

from holdfast.crew.plan import Hand, Job, Line, Plan, Shelf


def job_of(values, chunk=1, **options):
    job = Job(b"function", True, chunk=chunk, **options)
    job.waiting = Shelf(list(values))
    job.ended = True
    return job


def plan_with(*jobs, hands=1, most=None):
    plan = Plan(most)
    for number in range(hands):
        plan.hands[number] = Hand(number)
    for job in jobs:
        plan.add(job)
    return plan


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


def test_plan_tasks_that_cost_little_wait_many_at_a_hand():
    job = job_of(range(1000))
    job.cost = 1e-5
    plan = plan_with(job)
    given = 0
    while plan.give() is not None:
        given += 1
    assert given > 10


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


def test_plan_credit_bounds_what_is_given():
    job = job_of(range(5))
    job.credit = 2
    plan = plan_with(job, hands=5)
    assert [plan.give() is not None for _ in range(3)] == [True, True, False]
    job.credit = 1
    assert plan.give() is not None


def test_plan_single_tasks_and_a_job_take_turns():
    single = Job(b"function", True)
    plan = plan_with(job_of(range(2)), hands=4)
    plan.add_single(single, "a")
    plan.add_single(Job(b"function", True), "b")
    values = [plan.give()[1].values[0] for _ in range(4)]
    assert set(values) == {0, 1, "a", "b"}
    assert values.index("a") < 2
    assert values.index(0) < 2


def test_plan_retries_end_after_as_many_as_allowed():
    job = job_of(range(1), retries=2)
    plan = plan_with(job)
    assert [plan.retry(job, 0, 0) for _ in range(3)] == [True, True, False]


def test_plan_share_of_a_job_shrinks_towards_its_end():
    job = job_of(range(100), chunk=-1)
    sizes = []
    while job.waiting:
        job.cost = 0.1
        sizes.append(len(job.cut(2)))
    assert sizes[0] == 13
    assert sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)


def test_line_take_more_than_there_is_gives_all():
    line = Line([1, 2, 3])
    assert line.take(2) == [1, 2]
    assert line.take(5) == [3]
    assert not line
