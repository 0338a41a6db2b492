#include "os/ring.h"

#include "check.h"

static int
run_none(void *owner, void *subject, void *arg)
{
    CL_UNUSED(owner);
    CL_UNUSED(subject);
    CL_UNUSED(arg);
    return 0;
}

static void
push(Ring *ring, uintptr_t number)
{
    CHECK_EQ(ring_push(ring, run_none, (void *)number, (void *)(number + 1)), 0);
}

static uintptr_t
pop(Ring *ring)
{
    RingEntry entry = ring_pop(ring);
    CHECK(entry.run == run_none);
    CHECK((uintptr_t)entry.arg == (uintptr_t)entry.subject + 1);
    return (uintptr_t)entry.subject;
}

static void
test_empty(void)
{
    Ring ring;
    ring_init(&ring);
    CHECK_EQ(ring.count, 0);
    CHECK(ring.entries == NULL);
    ring_trim(&ring);
    ring_free(&ring);
}

static void
test_growth_keeps_order(void)
{
    Ring ring;
    ring_init(&ring);
    for (uintptr_t i = 0; i < 10000; i++) {
        push(&ring, i);
    }
    CHECK_EQ(ring.count, 10000);
    CHECK_EQ(ring.capacity & (ring.capacity - 1), 0);
    for (uintptr_t i = 0; i < 10000; i++) {
        CHECK_EQ((uintptr_t)ring_at(&ring, 10000 - 1 - i)->subject, 9999);
        CHECK_EQ(pop(&ring), i);
    }
    ring_free(&ring);
}

/* Every offset of the head, grown while the entries wrap around. */
static void
test_growth_while_wrapped(void)
{
    for (uintptr_t offset = 0; offset < CL_RING_FIRST; offset++) {
        Ring ring;
        ring_init(&ring);
        uintptr_t in = 0, out = 0;
        for (; in < offset; in++) {
            push(&ring, in);
        }
        for (; out < offset; out++) {
            CHECK_EQ(pop(&ring), out);
        }
        while (ring.count < 3 * CL_RING_FIRST) {
            push(&ring, in++);
        }
        while (ring.count > 0) {
            CHECK_EQ(pop(&ring), out++);
        }
        CHECK_EQ(in, out);
        ring_free(&ring);
    }
}

static void
test_random_against_counters(void)
{
    Ring ring;
    uint64_t seed = 1;
    uintptr_t in = 0, out = 0;
    ring_init(&ring);
    for (int round = 0; round < 20000; round++) {
        unsigned pushes = check_random(&seed) % 40;
        unsigned pops = check_random(&seed) % 40;
        while (pushes-- > 0) {
            push(&ring, in++);
        }
        while (pops-- > 0 && ring.count > 0) {
            CHECK_EQ(pop(&ring), out++);
        }
        if (round % 100 == 0) {
            while (ring.count > 0) {
                CHECK_EQ(pop(&ring), out++);
            }
            ring_trim(&ring);
        }
        CHECK_EQ(ring.count, in - out);
    }
    ring_free(&ring);
}

static void
test_trim(void)
{
    Ring ring;
    ring_init(&ring);
    for (uintptr_t i = 0; i < 100000; i++) {
        push(&ring, i);
    }
    size_t large = ring.capacity;
    ring_trim(&ring);
    CHECK_EQ(ring.capacity, large); /* not while it holds entries */
    while (ring.count > 0) {
        pop(&ring);
    }
    ring_trim(&ring);
    CHECK_EQ(ring.capacity, CL_RING_IDLE);
    for (uintptr_t i = 0; i < CL_RING_IDLE; i++) {
        push(&ring, i);
    }
    CHECK_EQ(ring.capacity, CL_RING_IDLE);
    for (uintptr_t i = 0; i < CL_RING_IDLE; i++) {
        CHECK_EQ(pop(&ring), i);
    }
    ring_free(&ring);
    CHECK(ring.entries == NULL);
}

int
main(void)
{
    RUN(test_empty);
    RUN(test_growth_keeps_order);
    RUN(test_growth_while_wrapped);
    RUN(test_random_against_counters);
    RUN(test_trim);
    return check_done();
}
