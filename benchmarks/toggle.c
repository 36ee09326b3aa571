/* Lets a Python process say when callgrind counts. Loaded with ctypes; does nothing outside valgrind. */
#include <valgrind/callgrind.h>

void start(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void stop(void) { CALLGRIND_STOP_INSTRUMENTATION; }
void zero(void) { CALLGRIND_ZERO_STATS; }
void dump(const char *description) { CALLGRIND_DUMP_STATS_AT(description); }
