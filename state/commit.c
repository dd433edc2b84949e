/* commit.c: all that a finished batch changes, in one transaction.
 *
 *   rows -> intents closed -> conflicts -> quarantine -> foreign keys
 *        -> tombstones purged -> newest rows -> counts -> the twin's rows
 *        -> checkpoint
 */
#include "state/state_int.h"

static int close_intents(struct state *st, const struct state_commit *c,
			 struct kv_err *err)
{
	struct sql q;

	if (c->n_close_intents == 0) {
		return KV_OK;
	}
	q = sql_open(st, SQL_INTENT_CLOSE);
	for (size_t i = 0; i < c->n_close_intents; i++) {
		sql_int(&q, c->close_intents[i]);
		sql_int(&q, c->route);
		(void)sql_run(&q);
		sql_again(&q);
	}
	return sql_close(&q, err);
}

static int put_twin(struct state *st, const struct state_commit *c,
		    struct kv_err *err)
{
	struct tally t = {{0}, 0, 0, 0};
	int status;

	if (c->n_twin_rows == 0) {
		return KV_OK;
	}
	status = ledger_put(st, c->twin, c->twin_rows, c->n_twin_rows, &t, err);
	if (status == KV_OK) {
		status =
		    newest_note(st, c->twin, c->twin_rows, c->n_twin_rows, err);
	}
	return status == KV_OK ? tally_add(st, c->twin, &t, err) : status;
}

static int commit(struct state *st, const struct state_commit *c,
		  struct kv_err *err)
{
	struct tally t = {{0}, 0, 0, 0};
	int status = ledger_put(st, c->route, c->rows, c->n_rows, &t, err);

	if (status == KV_OK) {
		status = close_intents(st, c, err);
	}
	if (status == KV_OK) {
		status = conflicts_add(st, c, &t, err);
	}
	if (status == KV_OK) {
		status = quarantine_change(st, c, &t, err);
	}
	if (status == KV_OK) {
		status = foreign_change(st, c, &t, err);
	}
	if (status == KV_OK) {
		status =
		    ledger_purge(st, c->route, c->purge_tombstones, &t, err);
	}
	if (status == KV_OK) {
		status = newest_note(st, c->route, c->rows, c->n_rows, err);
	}
	if (status == KV_OK) {
		status = tally_add(st, c->route, &t, err);
	}
	if (status == KV_OK) {
		status = put_twin(st, c, err);
	}
	if (status == KV_OK && c->checkpoint != NULL) {
		status = checkpoint_save(st, c->route, c->checkpoint, err);
	}
	return status;
}

int state_commit(struct state *st, const struct state_commit *c,
		 struct kv_err *err)
{
	int status;

	PRE(c->rows != NULL || c->n_rows == 0);
	PRE(c->close_intents != NULL || c->n_close_intents == 0);
	status = tx_begin(st, SQL_BEGIN_WRITE, err);
	if (status != KV_OK) {
		return status;
	}
	return tx_end(st, commit(st, c, err), err);
}
