/* The ready ring: a growing circular array of {run, subject, arg}.
 *
 * What the two pointers mean is the business of `run`; the ring only moves them. In
 * the loop they are strong references to Python objects (arg may be NULL), `run`
 * consumes both, and returns 0, or -1 when an exception must leave the loop.
 *
 * Pushing while an entry runs is ordinary; the array may move then, so a caller copies
 * an entry out (ring_pop) before running it. */
#ifndef CL_OS_RING_H
#define CL_OS_RING_H

#include "platform.h"

#define CL_RING_FIRST 64  /* entries of the first array; a power of two */
#define CL_RING_IDLE 1024 /* entries that an empty ring may keep; a power of two */

typedef int (*RingRun)(void *owner, void *subject, void *arg);

typedef struct RingEntry {
    RingRun run;
    void *subject;
    void *arg;
} RingEntry;

typedef struct Ring {
    RingEntry *entries; /* NULL until the first push */
    size_t capacity;    /* 0 or a power of two */
    size_t head;        /* index of the oldest entry */
    size_t count;
} Ring;

void ring_init(Ring *ring);

/* Frees the array. The entries themselves are the caller's to release first. */
void ring_free(Ring *ring);

/* Makes room for at least one more entry. 0 or -ENOMEM. */
int ring_grow(Ring *ring);

/* Gives back memory after a burst: shrinks to CL_RING_IDLE when empty and larger. For
 * the moment before a wait that blocks, so that a busy ring does not go up and down. */
void ring_trim(Ring *ring);

static inline int
ring_push(Ring *ring, RingRun run, void *subject, void *arg)
{
    if (CL_UNLIKELY(ring->count == ring->capacity)) {
        int rc = ring_grow(ring);
        if (rc < 0) {
            return rc;
        }
    }
    RingEntry *entry =
        &ring->entries[(ring->head + ring->count) & (ring->capacity - 1)];
    entry->run = run;
    entry->subject = subject;
    entry->arg = arg;
    ring->count++;
    return 0;
}

/* The oldest entry, taken out. The ring is not empty. */
static inline RingEntry
ring_pop(Ring *ring)
{
    RingEntry entry = ring->entries[ring->head];
    ring->head = (ring->head + 1) & (ring->capacity - 1);
    ring->count--;
    return entry;
}

/* The i-th oldest entry, left in place. i < count. */
static inline RingEntry *
ring_at(const Ring *ring, size_t i)
{
    return &ring->entries[(ring->head + i) & (ring->capacity - 1)];
}

#endif
