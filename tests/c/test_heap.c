#include "os/heap.h"

#include <string.h>

#include "check.h"

#define TIMERS 3000

typedef struct Timer {
    HeapNode node;
    int64_t when_ns;
    uint64_t seq; /* the order of pushing */
    enum { IDLE, LIVE, CANCELLED } state;
    int dropped;
} Timer;

typedef struct Fixture {
    Heap heap;
    Timer *timers;
    size_t count;
    uint64_t next_seq;
    size_t drops;
    void (*on_drop)(struct Fixture *fixture, Timer *timer);
} Fixture;

static void
check_heap(const Heap *heap)
{
    size_t cancelled = 0;
    for (size_t i = 0; i < heap->count; i++) {
        const HeapSlot *slot = &heap->slots[i];
        CHECK_EQ(slot->node->index, i);
        cancelled += slot->node->cancelled;
        if (i > 0) {
            const HeapSlot *parent = &heap->slots[(i - 1) / 4];
            CHECK(parent->when_ns < slot->when_ns
                  || (parent->when_ns == slot->when_ns && parent->seq < slot->seq));
        }
    }
    CHECK_EQ(heap->cancelled, cancelled);
    CHECK(heap->count <= heap->capacity);
}

static void
drop(void *owner, HeapNode *node)
{
    Fixture *fixture = owner;
    Timer *timer = CL_CONTAINER_OF(node, Timer, node);
    CHECK(node->cancelled);
    CHECK_EQ(node->index, CL_HEAP_NOWHERE);
    CHECK_EQ(timer->state, CANCELLED);
    timer->state = IDLE;
    timer->dropped++;
    fixture->drops++;
    if (fixture->on_drop != NULL) {
        fixture->on_drop(fixture, timer);
    }
}

static void
setup(Fixture *fixture, size_t count)
{
    memset(fixture, 0, sizeof(*fixture));
    heap_init(&fixture->heap, drop, fixture);
    fixture->timers = calloc(count, sizeof(Timer));
    fixture->count = count;
    for (size_t i = 0; i < count; i++) {
        heap_node_init(&fixture->timers[i].node);
    }
}

static void
teardown(Fixture *fixture)
{
    HeapNode *node;
    while ((node = heap_pop_any(&fixture->heap)) != NULL) {
        CHECK_EQ(node->index, CL_HEAP_NOWHERE);
    }
    CHECK_EQ(fixture->heap.cancelled, 0);
    heap_free(&fixture->heap);
    free(fixture->timers);
}

static void
push(Fixture *fixture, Timer *timer, int64_t when_ns)
{
    CHECK_EQ(timer->state, IDLE);
    timer->when_ns = when_ns;
    timer->seq = fixture->next_seq++;
    timer->state = LIVE;
    CHECK_EQ(heap_push(&fixture->heap, &timer->node, when_ns), 0);
}

static void
cancel(Fixture *fixture, Timer *timer)
{
    CHECK_EQ(timer->state, LIVE);
    timer->state = CANCELLED;
    heap_cancel(&fixture->heap, &timer->node);
}

/* The naive model: the earliest live timer by looking at all. */
static Timer *
earliest(Fixture *fixture)
{
    Timer *best = NULL;
    for (size_t i = 0; i < fixture->count; i++) {
        Timer *timer = &fixture->timers[i];
        if (timer->state == LIVE
            && (best == NULL || timer->when_ns < best->when_ns
                || (timer->when_ns == best->when_ns && timer->seq < best->seq))) {
            best = timer;
        }
    }
    return best;
}

static void
check_pop_due(Fixture *fixture, int64_t now_ns)
{
    Timer *expected = earliest(fixture);
    if (expected != NULL && expected->when_ns > now_ns) {
        expected = NULL;
    }
    HeapNode *node = heap_pop_due(&fixture->heap, now_ns);
    CHECK(node == (expected == NULL ? NULL : &expected->node));
    if (expected != NULL) {
        CHECK_EQ(node->index, CL_HEAP_NOWHERE);
        expected->state = IDLE;
    }
}

static void
test_empty(void)
{
    Fixture fixture;
    setup(&fixture, 1);
    CHECK_EQ(heap_next_ns(&fixture.heap), CL_NEVER_NS);
    CHECK(heap_pop_due(&fixture.heap, CL_NEVER_NS) == NULL);
    CHECK(heap_pop_any(&fixture.heap) == NULL);
    heap_cancel(&fixture.heap, &fixture.timers[0].node); /* in no heap: nothing */
    CHECK(!fixture.timers[0].node.cancelled);
    teardown(&fixture);
}

static void
test_extreme_deadlines(void)
{
    Fixture fixture;
    setup(&fixture, 3);
    push(&fixture, &fixture.timers[0], CL_NEVER_NS);
    push(&fixture, &fixture.timers[1], INT64_MIN);
    push(&fixture, &fixture.timers[2], CL_NEVER_NS - 1);
    CHECK_EQ(heap_next_ns(&fixture.heap), INT64_MIN);
    check_pop_due(&fixture, INT64_MIN);
    check_pop_due(&fixture, CL_NEVER_NS - 2);
    check_pop_due(&fixture, CL_NEVER_NS);
    check_pop_due(&fixture, CL_NEVER_NS);
    CHECK_EQ(fixture.heap.count, 0);
    teardown(&fixture);
}

static void
test_ties_in_order_of_pushing(void)
{
    Fixture fixture;
    setup(&fixture, 500);
    for (size_t i = 0; i < 500; i++) {
        push(&fixture, &fixture.timers[i], (int64_t)(i % 3));
    }
    for (int64_t when_ns = 0; when_ns < 3; when_ns++) {
        for (size_t i = (size_t)when_ns; i < 500; i += 3) {
            CHECK(heap_pop_due(&fixture.heap, when_ns) == &fixture.timers[i].node);
        }
        CHECK(heap_pop_due(&fixture.heap, when_ns) == NULL);
    }
    teardown(&fixture);
}

static void
test_cancel_last_goes_at_once(void)
{
    Fixture fixture;
    setup(&fixture, 100);
    for (size_t i = 0; i < 100; i++) {
        push(&fixture, &fixture.timers[i], (int64_t)i);
    }
    for (size_t i = 100; i-- > 0;) {
        cancel(&fixture, &fixture.timers[i]);
        CHECK_EQ(fixture.heap.count, i);
        CHECK_EQ(fixture.timers[i].dropped, 1);
    }
    teardown(&fixture);
}

static void
test_cancelled_ones_before_the_last_go_with_it(void)
{
    Fixture fixture;
    setup(&fixture, 10);
    for (size_t i = 0; i < 10; i++) {
        push(&fixture, &fixture.timers[i], (int64_t)i);
    }
    for (size_t i = 1; i < 9; i++) {
        cancel(&fixture, &fixture.timers[i]);
    }
    CHECK_EQ(fixture.drops, 0);
    CHECK_EQ(heap_live(&fixture.heap), 2);
    cancel(&fixture, &fixture.timers[9]);
    CHECK_EQ(fixture.drops, 9);
    CHECK_EQ(fixture.heap.count, 1);
    cancel(&fixture, &fixture.timers[0]);
    CHECK_EQ(heap_next_ns(&fixture.heap), CL_NEVER_NS);
    teardown(&fixture);
}

static void
test_cancelled_do_not_stay(void)
{
    Fixture fixture;
    setup(&fixture, 10000);
    for (size_t i = 0; i < 10000; i++) {
        push(&fixture, &fixture.timers[i], (int64_t)i);
    }
    for (size_t i = 0; i < 10000; i++) {
        cancel(&fixture, &fixture.timers[i]);
        CHECK(fixture.heap.cancelled <= 64
              || fixture.heap.cancelled <= fixture.heap.count / 2);
        if (i % 97 == 0) {
            check_heap(&fixture.heap);
        }
        if (i == 5100) {
            i = 9900; /* the rest by far not all */
        }
    }
    CHECK(fixture.drops >= 5000);
    teardown(&fixture);

    /* Nor when the live ones before them run: the next look at the time sweeps. */
    setup(&fixture, 1000);
    for (size_t i = 0; i < 1000; i++) {
        push(&fixture, &fixture.timers[i], (int64_t)i);
    }
    for (size_t i = 600; i < 999; i++) {
        cancel(&fixture, &fixture.timers[i]);
    }
    CHECK_EQ(fixture.heap.cancelled, 399);
    for (size_t i = 0; i < 600; i++) {
        check_pop_due(&fixture, CL_NEVER_NS);
    }
    CHECK_EQ(fixture.drops, 399);
    CHECK_EQ(fixture.heap.count, 1);
    CHECK_EQ(fixture.heap.cancelled, 0);
    teardown(&fixture);
}

static void
test_cancel_twice(void)
{
    Fixture fixture;
    setup(&fixture, 2);
    push(&fixture, &fixture.timers[0], 1);
    push(&fixture, &fixture.timers[1], 2);
    cancel(&fixture, &fixture.timers[0]);
    heap_cancel(&fixture.heap, &fixture.timers[0].node);
    CHECK_EQ(fixture.heap.cancelled, 1);
    CHECK_EQ(heap_next_ns(&fixture.heap), 2);
    heap_cancel(&fixture.heap, &fixture.timers[0].node);
    CHECK_EQ(fixture.timers[0].dropped, 1);
    teardown(&fixture);
}

static void
test_memory_shrinks(void)
{
    Fixture fixture;
    setup(&fixture, 50000);
    for (size_t i = 0; i < 50000; i++) {
        push(&fixture, &fixture.timers[i], (int64_t)i);
    }
    size_t large = fixture.heap.capacity;
    for (size_t i = 0; i < 25000; i++) {
        CHECK(heap_pop_due(&fixture.heap, (int64_t)i) == &fixture.timers[i].node);
        fixture.timers[i].state = IDLE;
    }
    CHECK_EQ(fixture.heap.capacity, large);
    for (size_t i = 25000; i < 49990; i++) {
        cancel(&fixture, &fixture.timers[i]);
    }
    CHECK(fixture.heap.capacity <= 1024);
    for (size_t i = 49990; i < 50000; i++) {
        check_pop_due(&fixture, CL_NEVER_NS);
    }
    CHECK(fixture.heap.capacity <= 256);
    teardown(&fixture);
}

static void
check_random_against_model(uint64_t seed, unsigned spread)
{
    Fixture fixture;
    setup(&fixture, TIMERS);
    int64_t now_ns = 0;
    for (int step = 0; step < 20000; step++) {
        Timer *timer = &fixture.timers[check_random(&seed) % TIMERS];
        /* Stretches in which timers are mostly made, or mostly cancelled. */
        unsigned bias = step / 2000 % 2 == 0 ? 7 : 3;
        unsigned dice = check_random(&seed) % 10;
        if (dice < bias && timer->state == IDLE) {
            push(&fixture, timer, now_ns + (int64_t)(check_random(&seed) % spread));
        }
        else if (timer->state == LIVE) {
            cancel(&fixture, timer);
        }
        if (step % 50 == 0) {
            Timer *first = earliest(&fixture);
            CHECK_EQ(heap_next_ns(&fixture.heap),
                     first == NULL ? CL_NEVER_NS : first->when_ns);
            now_ns += (int64_t)(check_random(&seed) % (spread / 10 + 1));
            for (int i = 0; i < 5; i++) {
                check_pop_due(&fixture, now_ns);
            }
            check_heap(&fixture.heap);
            size_t live = 0;
            for (size_t i = 0; i < TIMERS; i++) {
                live += fixture.timers[i].state == LIVE;
            }
            CHECK_EQ(heap_live(&fixture.heap), live);
        }
    }
    while (earliest(&fixture) != NULL) {
        check_pop_due(&fixture, CL_NEVER_NS);
    }
    CHECK_EQ(heap_next_ns(&fixture.heap), CL_NEVER_NS);
    CHECK_EQ(fixture.heap.count, 0);
    teardown(&fixture);
}

static void
test_random_against_model(void)
{
    for (uint64_t seed = 0; seed < 6; seed++) {
        check_random_against_model(seed, seed % 2 == 0 ? 1000000 : 20);
    }
}

/* What a destructor may do while its timer is dropped: push, cancel, pop. */
static void
mutate_on_drop(Fixture *fixture, Timer *timer)
{
    uint64_t seed = timer->seq * 7 + 1;

    check_heap(&fixture->heap);
    if (fixture->drops > 50000) {
        return;
    }
    Timer *other = &fixture->timers[check_random(&seed) % fixture->count];
    switch (check_random(&seed) % 4) {
    case 0:
        push(fixture, timer, timer->when_ns + 3);
        break;
    case 1:
        if (other->state == LIVE) {
            cancel(fixture, other);
        }
        break;
    case 2: {
        /* What else is dropped on the way may change which is the earliest. */
        HeapNode *node = heap_pop_due(&fixture->heap, timer->when_ns);
        if (node != NULL) {
            Timer *popped = CL_CONTAINER_OF(node, Timer, node);
            CHECK(earliest(fixture) == popped);
            popped->state = IDLE;
        }
        break;
    }
    default:
        if (other->state == IDLE) {
            push(fixture, other, other->when_ns - 3);
        }
        break;
    }
}

static void
test_drop_reenters(void)
{
    Fixture fixture;
    uint64_t seed = 5;
    setup(&fixture, 1000);
    fixture.on_drop = mutate_on_drop;
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < fixture.count; i++) {
            if (fixture.timers[i].state == IDLE) {
                push(&fixture, &fixture.timers[i], check_random(&seed) % 1000);
            }
        }
        for (size_t i = 0; i < fixture.count; i++) {
            Timer *timer = &fixture.timers[check_random(&seed) % fixture.count];
            if (timer->state == LIVE) {
                cancel(&fixture, timer);
            }
        }
    }
    CHECK(fixture.drops > 10000);
    fixture.on_drop = NULL;
    teardown(&fixture);
}

int
main(void)
{
    RUN(test_empty);
    RUN(test_extreme_deadlines);
    RUN(test_ties_in_order_of_pushing);
    RUN(test_cancel_last_goes_at_once);
    RUN(test_cancelled_ones_before_the_last_go_with_it);
    RUN(test_cancelled_do_not_stay);
    RUN(test_cancel_twice);
    RUN(test_memory_shrinks);
    RUN(test_random_against_model);
    RUN(test_drop_reenters);
    return check_done();
}
