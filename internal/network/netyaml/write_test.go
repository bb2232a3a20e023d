package netyaml_test

import (
	"encoding"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

// fill sets whatever in a value is neither a text of its own form, such as an address, nor
// set already, and returns how much that was.
func fill(v reflect.Value) (filled int) {
	if _, textual := v.Interface().(encoding.TextMarshaler); textual {
		return 0
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			filled += fill(v.Field(i))
		}
		return filled
	case reflect.Pointer: // one that is set is written, be it empty
		v.Set(reflect.New(v.Type().Elem()))
		return fill(v.Elem())
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		if filled = fill(value); filled > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.ValueOf("x").Convert(v.Type().Key()), value)
		}
		return filled
	case reflect.Slice:
		value := reflect.New(v.Type().Elem()).Elem()
		if filled = fill(value); filled > 0 {
			v.Set(reflect.Append(v, value))
		}
		return filled
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	default:
		v.Set(reflect.ValueOf(7).Convert(v.Type()))
	}
	return 1
}

// Whatever can be declared can be written, and reads back the same: wwwctl config show has
// no other way.
func TestEveryKindOfKeyIsWritten(t *testing.T) {
	var spec, again network.Spec
	if n := fill(reflect.ValueOf(&spec).Elem()); n < 50 {
		t.Fatalf("%d keys filled: too few to mean anything", n)
	}
	b, err := netyaml.Marshal(&spec)
	if err != nil {
		t.Fatal(err)
	}
	if problems := netyaml.Decode("written.yaml", b, &again); len(problems) > 0 {
		t.Fatalf("problems in what was written:\n%s\n%s", netyaml.Format(problems), b)
	}
	if d := cmp.Diff(spec, again, equal); d != "" {
		t.Errorf("written and read back (-want +got):\n%s", d)
	}
}
