package expr_test

import (
	"errors"
	"fmt"

	"github.com/postbus/postbus/plugins/expr"
)

func Example() {
	scope := expr.Scope{Fields: []string{"cpu", "temperature"}}
	when, _ := expr.Compile(`event.cpu > 20`, scope)
	topic, _ := expr.ParseTemplate(`devices/${host}/cpu`, scope)
	percent, _ := expr.ParseTemplate(`${round(event.cpu)}`, scope)
	payload := expr.Map([]string{"percent", "unit"}, []expr.Value{expr.FromTemplate(percent), expr.Const("%")})

	for _, cpu := range []float64{23.4, 18.2} {
		v := &expr.Vars{Event: map[string]any{"cpu": cpu}, Host: "pi"}
		if ok, _ := when.Bool(v); !ok {
			fmt.Println("filtered:", when.Explain(v))
			continue
		}
		name, _ := topic.Text(v)
		b, _ := payload.AppendJSON(nil, v)
		fmt.Println(name, string(b))
	}
	// Output:
	// devices/pi/cpu {"percent":23,"unit":"%"}
	// filtered: event.cpu=18.2 > 20 is false
}

func ExampleError() {
	src := `event.cpuu > 20`
	_, err := expr.Compile(src, expr.Scope{Fields: []string{"cpu", "temperature"}})
	var e *expr.Error
	if errors.As(err, &e) {
		fmt.Printf("%s\n%*s^\n%v\n", src, e.Offset, "", e)
	}
	// Output:
	// event.cpuu > 20
	//       ^
	// event has no field "cpuu"; did you mean "cpu"?
}
