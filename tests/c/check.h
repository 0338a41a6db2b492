/* The harness of the C tests: CHECK what must hold, RUN each test from main, and end
 * main with `return check_done()`. A failed check ends the program at once, naming the
 * place; the fixture in test_os.py shows what it printed. */
#ifndef CL_TESTS_CHECK_H
#define CL_TESTS_CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                               \
    do {                                                                               \
        if (!(condition)) {                                                            \
            fprintf(stderr, "%s:%d: in %s: %s\n", __FILE__, __LINE__, __func__,        \
                    #condition);                                                       \
            exit(1);                                                                   \
        }                                                                              \
    } while (0)

#define CHECK_EQ(left, right)                                                          \
    do {                                                                               \
        long long left_value = (long long)(left);                                      \
        long long right_value = (long long)(right);                                    \
        if (left_value != right_value) {                                               \
            fprintf(stderr, "%s:%d: in %s: %s == %s: %lld != %lld\n", __FILE__,        \
                    __LINE__, __func__, #left, #right, left_value, right_value);       \
            exit(1);                                                                   \
        }                                                                              \
    } while (0)

#define RUN(test)                                                                      \
    do {                                                                               \
        printf("%s\n", #test);                                                         \
        fflush(stdout);                                                                \
        test();                                                                        \
    } while (0)

/* A small generator of our own, so that a seed means the same everywhere. */
static inline uint32_t
check_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

static inline int
check_done(void)
{
    printf("ok\n");
    return 0;
}

#endif
