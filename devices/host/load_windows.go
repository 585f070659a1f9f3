// This file is Windows, which has no load average.

package host

import (
	"context"
	"errors"
)

func readLoad(context.Context) (map[string]any, error) {
	return nil, errors.New("Windows has no load average")
}
