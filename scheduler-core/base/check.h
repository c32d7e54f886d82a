// CHECK stops the process on a broken invariant, in every build: going on would place wrongly.
#pragma once

#include <cstdio>
#include <cstdlib>

#define BASALT_CHECK(condition)                                                              \
  do {                                                                                       \
    if (!(condition)) [[unlikely]] {                                                         \
      std::fprintf(stderr, "%s:%d: invariant broken: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)

#ifdef NDEBUG
#define BASALT_DCHECK(condition) \
  do {                           \
  } while (false)
#else
#define BASALT_DCHECK(condition) BASALT_CHECK(condition)
#endif
