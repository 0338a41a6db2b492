/* The parts of the ready ring that allocate. Called by the loop's thread (or under the
 * inbox's lock for the inbox). Invariants: capacity is 0 or a power of two, head is
 * below capacity (0 when there is none), count is at most capacity. */
#include "ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void
ring_init(Ring *ring)
{
    ring->entries = NULL;
    ring->capacity = 0;
    ring->head = 0;
    ring->count = 0;
}

void
ring_free(Ring *ring)
{
    free(ring->entries);
    ring_init(ring);
}

/* A new array, not realloc: the entries come to lie in order from index 0, in two
 * copies, and what wraps around needs no thought. */
int
ring_grow(Ring *ring)
{
    if (ring->capacity > SIZE_MAX / 2 / sizeof(RingEntry)) {
        return -ENOMEM;
    }
    size_t capacity = ring->capacity == 0 ? CL_RING_FIRST : ring->capacity * 2;
    RingEntry *entries = malloc(capacity * sizeof(RingEntry));
    if (entries == NULL) {
        return -ENOMEM;
    }
    if (ring->count > 0) {
        size_t first = ring->capacity - ring->head;
        if (first > ring->count) {
            first = ring->count;
        }
        memcpy(entries, ring->entries + ring->head, first * sizeof(RingEntry));
        memcpy(entries + first, ring->entries,
               (ring->count - first) * sizeof(RingEntry));
    }
    free(ring->entries);
    ring->entries = entries;
    ring->capacity = capacity;
    ring->head = 0;
    return 0;
}

void
ring_trim(Ring *ring)
{
    if (ring->count > 0 || ring->capacity <= CL_RING_IDLE) {
        return;
    }
    ring->head = 0;
    RingEntry *entries = realloc(ring->entries, CL_RING_IDLE * sizeof(RingEntry));
    if (entries == NULL) {
        return; /* the large one is still good */
    }
    ring->entries = entries;
    ring->capacity = CL_RING_IDLE;
}
