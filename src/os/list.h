/* An intrusive, circular, doubly linked list. A node that is in no list points at
 * itself, so removal is idempotent. No allocation, no failure. */
#ifndef CL_OS_LIST_H
#define CL_OS_LIST_H

#include <stdbool.h>

#include "platform.h"

typedef struct List {
    struct List *prev;
    struct List *next;
} List;

static inline void
list_init(List *node)
{
    node->prev = node;
    node->next = node;
}

static inline bool
list_is_empty(const List *node)
{
    return node->next == node;
}

/* Adds node before head, that is, at the end of head's list. node is in no list. */
static inline void
list_append(List *head, List *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void
list_remove(List *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Takes the first node out, or returns NULL. */
static inline List *
list_pop(List *head)
{
    List *node = head->next;
    if (node == head) {
        return NULL;
    }
    list_remove(node);
    return node;
}

#endif
