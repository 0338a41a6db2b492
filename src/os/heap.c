/* The timer heap. Called by the loop's thread.
 *
 * Four children a node: a push compares half as often as in a binary heap, a pop
 * touches fewer cache lines, since the four children's slots lie side by side. Slots
 * hold the key, so that comparing never follows the node's pointer.
 *
 * Invariants, whenever `drop` runs and between calls: slots[0..count) is a heap by
 * (when_ns, seq); slots[i].node->index == i; `cancelled` counts the marked nodes in
 * it. A node that has left has index CL_HEAP_NOWHERE. */
#include "heap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define CL_HEAP_FIRST 64     /* slots of the first array; never shrunk below */
#define CL_HEAP_SWEEP_MIN 64 /* that many marked nodes may stay whatever their share */

void
heap_init(Heap *heap, HeapDrop drop, void *owner)
{
    heap->slots = NULL;
    heap->count = 0;
    heap->capacity = 0;
    heap->cancelled = 0;
    heap->next_seq = 0;
    heap->drop = drop;
    heap->owner = owner;
}

void
heap_free(Heap *heap)
{
    assert(heap->count == 0);
    free(heap->slots);
    heap->slots = NULL;
    heap->capacity = 0;
}

/* -- order ------------------------------------------------------------------------- */

static inline bool
slot_before(const HeapSlot *a, const HeapSlot *b)
{
    return a->when_ns < b->when_ns || (a->when_ns == b->when_ns && a->seq < b->seq);
}

static inline void
heap_put(Heap *heap, size_t index, HeapSlot slot)
{
    heap->slots[index] = slot;
    slot.node->index = index;
}

/* Puts slot at index or above. */
static void
heap_sift_up(Heap *heap, size_t index, HeapSlot slot)
{
    while (index > 0) {
        size_t parent = (index - 1) / 4;
        if (!slot_before(&slot, &heap->slots[parent])) {
            break;
        }
        heap_put(heap, index, heap->slots[parent]);
        index = parent;
    }
    heap_put(heap, index, slot);
}

/* Puts slot at index or below. */
static void
heap_sift_down(Heap *heap, size_t index, HeapSlot slot)
{
    size_t count = heap->count;
    for (;;) {
        size_t child = index * 4 + 1;
        if (child >= count) {
            break;
        }
        size_t end = count - child < 4 ? count : child + 4;
        size_t least = child;
        while (++child < end) {
            if (slot_before(&heap->slots[child], &heap->slots[least])) {
                least = child;
            }
        }
        if (!slot_before(&heap->slots[least], &slot)) {
            break;
        }
        heap_put(heap, index, heap->slots[least]);
        index = least;
    }
    heap_put(heap, index, slot);
}

/* -- memory ------------------------------------------------------------------------ */

static int
heap_resize(Heap *heap, size_t capacity)
{
    if (capacity > SIZE_MAX / sizeof(HeapSlot)) {
        return -ENOMEM;
    }
    HeapSlot *slots = realloc(heap->slots, capacity * sizeof(HeapSlot));
    if (slots == NULL) {
        return -ENOMEM;
    }
    heap->slots = slots;
    heap->capacity = capacity;
    return 0;
}

/* Gives half back when three quarters are empty, so that a heap that goes up and down
 * around one size never resizes. A failure to shrink is none. */
static inline void
heap_shrink(Heap *heap)
{
    if (CL_UNLIKELY(heap->count < heap->capacity / 4
                    && heap->capacity > CL_HEAP_FIRST)) {
        (void)heap_resize(heap, heap->capacity / 2);
    }
}

/* -- going in and out -------------------------------------------------------------- */

int
heap_push(Heap *heap, HeapNode *node, int64_t when_ns)
{
    assert(node->index == CL_HEAP_NOWHERE);
    if (CL_UNLIKELY(heap->count == heap->capacity)) {
        size_t more = heap->capacity == 0 ? CL_HEAP_FIRST : heap->capacity * 2;
        int rc = heap_resize(heap, more);
        if (rc < 0) {
            return rc;
        }
    }
    node->cancelled = false;
    HeapSlot slot = {.when_ns = when_ns, .seq = heap->next_seq++, .node = node};
    heap_sift_up(heap, heap->count++, slot);
    return 0;
}

/* The node of the last slot, which any heap can lose without a move. */
static HeapNode *
heap_take_last(Heap *heap)
{
    HeapNode *node = heap->slots[--heap->count].node;
    node->index = CL_HEAP_NOWHERE;
    heap->cancelled -= node->cancelled;
    return node;
}

static HeapNode *
heap_take_first(Heap *heap)
{
    HeapNode *node = heap->slots[0].node;
    HeapSlot last = heap->slots[--heap->count];
    if (heap->count > 0) {
        heap_sift_down(heap, 0, last);
    }
    node->index = CL_HEAP_NOWHERE;
    heap->cancelled -= node->cancelled;
    heap_shrink(heap);
    return node;
}

/* Drops every marked node. The live ones move to an array of their own first, so that
 * the heap is whole, and the old array keeps what is to be dropped, while `drop` runs.
 * Without memory for it nothing happens: the next cancel tries again. */
static void
heap_sweep(Heap *heap)
{
    size_t live = heap_live(heap);
    size_t dead = 0;
    size_t capacity = CL_HEAP_FIRST;
    while (capacity / 2 < live) {
        capacity *= 2; /* half empty: room to grow, and far from shrinking */
    }
    HeapSlot *slots = malloc(capacity * sizeof(HeapSlot));
    if (slots == NULL) {
        return;
    }
    HeapSlot *old = heap->slots;
    size_t count = heap->count;
    heap->slots = slots;
    heap->capacity = capacity;
    heap->count = 0;
    heap->cancelled = 0;
    for (size_t i = 0; i < count; i++) {
        if (old[i].node->cancelled) {
            old[i].node->index = CL_HEAP_NOWHERE;
            old[dead++] = old[i];
        }
        else {
            heap_put(heap, heap->count++, old[i]);
        }
    }
    if (heap->count > 1) {
        for (size_t i = (heap->count - 2) / 4 + 1; i-- > 0;) {
            heap_sift_down(heap, i, heap->slots[i]);
        }
    }
    for (size_t i = 0; i < dead; i++) {
        heap->drop(heap->owner, old[i].node);
    }
    free(old);
}

static inline void
heap_sweep_if_worth(Heap *heap)
{
    if (CL_UNLIKELY(heap->cancelled > CL_HEAP_SWEEP_MIN
                    && heap->cancelled > heap->count / 2)) {
        heap_sweep(heap);
    }
}

void
heap_cancel(Heap *heap, HeapNode *node)
{
    if (node->index == CL_HEAP_NOWHERE || node->cancelled) {
        return;
    }
    node->cancelled = true;
    heap->cancelled++;
    /* The usual time-out is cancelled soon after it was made and stands last: it and
     * the marked ones before it go at once. (`drop` may change everything: look
     * anew.) */
    while (heap->count > 0 && heap->slots[heap->count - 1].node->cancelled) {
        HeapNode *last = heap_take_last(heap);
        heap_shrink(heap);
        heap->drop(heap->owner, last);
    }
    heap_sweep_if_worth(heap);
}

int64_t
heap_next_ns(Heap *heap)
{
    heap_sweep_if_worth(heap); /* the share grows as live ones leave, too */
    while (heap->count > 0) {
        if (CL_LIKELY(!heap->slots[0].node->cancelled)) {
            return heap->slots[0].when_ns;
        }
        heap->drop(heap->owner, heap_take_first(heap));
    }
    return CL_NEVER_NS;
}

HeapNode *
heap_pop_due(Heap *heap, int64_t now_ns)
{
    if (heap_next_ns(heap) > now_ns || heap->count == 0) {
        return NULL;
    }
    return heap_take_first(heap);
}

HeapNode *
heap_pop_any(Heap *heap)
{
    if (heap->count == 0) {
        return NULL;
    }
    return heap_take_last(heap);
}
