#include "os/list.h"

#include "check.h"

static size_t
length(List *head)
{
    size_t count = 0;
    for (List *node = head->next; node != head; node = node->next) {
        CHECK(node->next->prev == node);
        count++;
    }
    return count;
}

static void
test_append_pop_keeps_order(void)
{
    List head, nodes[3];
    list_init(&head);
    CHECK(list_pop(&head) == NULL);
    for (int i = 0; i < 3; i++) {
        list_init(&nodes[i]);
        list_append(&head, &nodes[i]);
    }
    CHECK_EQ(length(&head), 3);
    for (int i = 0; i < 3; i++) {
        CHECK(list_pop(&head) == &nodes[i]);
        CHECK(list_is_empty(&nodes[i]));
    }
    CHECK(list_is_empty(&head));
}

static void
test_remove_twice(void)
{
    List head, a, b;
    list_init(&head);
    list_init(&a);
    list_init(&b);
    list_append(&head, &a);
    list_append(&head, &b);
    list_remove(&a);
    list_remove(&a);
    CHECK_EQ(length(&head), 1);
    CHECK(list_pop(&head) == &b);
}

int
main(void)
{
    RUN(test_append_pop_keeps_order);
    RUN(test_remove_twice);
    return check_done();
}
