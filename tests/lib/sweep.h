/* sweep.h: does a piece of code survive that any one of its allocations fails?
 *
 *   fn runs with allocation 0 failing, then with 1, 2, ... until a run sees no
 *   failure. After each run nothing that kv_malloc & co gave out is left, and
 *   the result is KV_NO_MEMORY, or KV_OK where the code could do without. The
 *   last run must give KV_OK.
 */
#ifndef KV_TEST_SWEEP_H
#define KV_TEST_SWEEP_H

#include "store/base/base.h"

/* Returns how many allocations there were to fail. fn must do the whole: set
 * up, act, tear down. Nothing may be allocated by kv_ calls outside of it. */
unsigned sweep_run(int (*fn)(void *ctx), void *ctx);

/* Counts without failing: sweep_begin, the code under test, sweep_end asserts
 * that nothing is left. */
void sweep_begin(void);
void sweep_end(void);

#endif /* KV_TEST_SWEEP_H */
