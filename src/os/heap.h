/* The timer heap: deadlines in order, ties in order of insertion.
 *
 * A node is embedded in its owner (TimerHandle) and knows its own index, so that a
 * cancel needs no search: it only marks the node. Marked nodes leave when they reach
 * the top, when they stand last in the array, or all together in a sweep once they are
 * more than half of the heap. Every node that leaves other than by heap_pop is handed
 * to `drop`, which releases the owner's reference. */
#ifndef CL_OS_HEAP_H
#define CL_OS_HEAP_H

#include <stdbool.h>

#include "platform.h"

#define CL_HEAP_NOWHERE SIZE_MAX

typedef struct HeapNode {
    size_t index; /* CL_HEAP_NOWHERE when in no heap */
    bool cancelled;
} HeapNode;

typedef struct HeapSlot {
    int64_t when_ns;
    uint64_t seq;
    HeapNode *node;
} HeapSlot;

/* Called for a cancelled node that has just left the heap. May run Python code, which
 * may push, cancel and pop: the heap is consistent when it is called. */
typedef void (*HeapDrop)(void *owner, HeapNode *node);

typedef struct Heap {
    HeapSlot *slots;
    size_t count;
    size_t capacity;
    size_t cancelled; /* marked nodes still in slots */
    uint64_t next_seq;
    HeapDrop drop;
    void *owner;
} Heap;

static inline void
heap_node_init(HeapNode *node)
{
    node->index = CL_HEAP_NOWHERE;
    node->cancelled = false;
}

void heap_init(Heap *heap, HeapDrop drop, void *owner);
void heap_free(Heap *heap); /* empty it first (heap_pop) */

/* 0 or -ENOMEM. node is in no heap. */
int heap_push(Heap *heap, HeapNode *node, int64_t when_ns);

/* Marks node; amortised O(1). The heap no longer counts it as live. May drop it and
 * others before returning, so hold what node is part of. Nothing happens to a node that
 * is in no heap or marked already. */
void heap_cancel(Heap *heap, HeapNode *node);

/* The earliest live deadline, or CL_NEVER_NS. Drops cancelled nodes at the top, or all
 * when they have become more than half. */
int64_t heap_next_ns(Heap *heap);

/* Takes out the earliest node when its deadline is <= now_ns, else NULL. Cancelled
 * nodes met on the way are dropped. */
HeapNode *heap_pop_due(Heap *heap, int64_t now_ns);

/* Takes out any node, cancelled or not, without dropping it; NULL when empty. For
 * closing and clearing. */
HeapNode *heap_pop_any(Heap *heap);

static inline size_t
heap_live(const Heap *heap)
{
    return heap->count - heap->cancelled;
}

#endif
