package kind

import (
	"context"
	"errors"
)

// ReadBus is the Stream of a source of the bus's events: it posts those of the filters that r emits, until ctx ends or
// post refuses one. An event that post refused is not acknowledged and is redelivered, and no later one is
// accepted. cursor names the place in the journal that is kept over restarts; see [Env].Consume.
func ReadBus(ctx context.Context, env Env, cursor string, filters []string, r Reader, post Post) error {
	consuming, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err := env.Consume(consuming, cursor, filters, func(m map[string]any, done func(error)) {
		if err := context.Cause(consuming); err != nil {
			done(err)
			return
		}
		at, fields, ok := r.Read(m, env.Source())
		if !ok {
			done(nil)
			return
		}
		if err := post(consuming, at, fields, done); err != nil {
			done(err)
			stop(err)
		}
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case consuming.Err() != nil:
		return context.Cause(consuming)
	case err == nil:
		return errors.New("the subscription ended")
	}
	return err
}
