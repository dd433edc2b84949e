/* apply_int.h: what the files of apply share among themselves. */
#ifndef KV_APPLY_INT_H
#define KV_APPLY_INT_H

#include "agent/apply.h"

/* Starts whatever the batch needs next. */
void apply_step(struct apply *a);
/* The same on a later turn. */
void apply_step_later(struct apply *a);
/* Stops and tells the owner. */
void apply_trouble(struct apply *a, const struct kv_err *err);

void apply_item_done(struct batch_item *it);
/* Sets the row that will be saved for the item; hash NULL: zero. */
void apply_item_row(struct batch_item *it, enum state_row_kind kind,
		    uint64_t source_index, struct store_version version,
		    const struct kv_hash *hash);

/* Moves what waits into the park. False: it cannot, now; *err is set when that
 * was for want of memory. */
bool apply_park(struct apply *a, struct kv_err *err);
/* Must the item wait before it can be written? Until when; 0: no. */
uint64_t apply_held_until(const struct apply *a, const struct batch_item *it);

void apply_trouble_memory(struct apply *a);

/* apply_look.c */
bool apply_is_held_row(const struct state_row *row);
bool apply_is_absent_put(const struct batch_item *it);
/* Is a row or an intent of the batch still missing? */
bool apply_look_needed(const struct apply *a);
void apply_look_start(struct apply *a);

/* apply_write.c */
/* Can it be written now? */
bool apply_is_ready(const struct apply *a, const struct batch_item *it);
void apply_write_start(struct apply *a);

void apply_read_start(struct apply *a);
void apply_cancel_reads(struct apply *a);
void apply_save_start(struct apply *a);
/* Conflicts that are about to be decided by a write stand in the journal before
 * it leaves. */
bool apply_journal_needed(const struct apply *a);
void apply_journal_start(struct apply *a);

#endif /* KV_APPLY_INT_H */
