/* identity.h: what two identities of a store, one saved and one told now, say
 * of its history (see store_origin). Pure.
 *
 *   saved \ told   ""        the same   another
 *   ""             same      -          same: it has become known
 *   "?"            other     -          other
 *   any other      doubt     same       other
 *
 * "" is said by a store in which nothing is yet that could be told apart. Where
 * there was something, that has gone: a delete of all, or a wipe. "?" is saved
 * while a ledger is not yet stamped anew, and is no store's own.
 */
#ifndef KV_IDENTITY_H
#define KV_IDENTITY_H

#include "store/store.h"

#define IDENTITY_UNSURE "?"

enum identity_verdict { IDENTITY_SAME, IDENTITY_DOUBT, IDENTITY_OTHER };

enum identity_verdict identity_judge(const char *saved, const char *told);

/* Takes over what is told where nothing was known; true: it has. */
bool identity_learn(char saved[STORE_IDENTITY_MAX], const char *told);

#endif /* KV_IDENTITY_H */
