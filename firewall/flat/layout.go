package flat

import (
	"fmt"
	"reflect"
)

// Unfit says why values of a type may not lie in a flat: pointers mean nothing there, a boolean is one of 256 values,
// and padding is whatever it happens to be. Tests ask it of each type.
func Unfit(t reflect.Type) error {
	switch t.Kind() {
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return nil
	case reflect.Array:
		return Unfit(t.Elem())
	case reflect.Struct:
		end := uintptr(0)
		for f := range t.Fields() {
			if err := Unfit(f.Type); err != nil {
				return fmt.Errorf("%s.%s: %w", t, f.Name, err)
			}
			if f.Offset != end {
				return fmt.Errorf("%s has padding before %s", t, f.Name)
			}
			end += f.Type.Size()
		}
		if end != t.Size() {
			return fmt.Errorf("%s has padding at its end", t)
		}
		return nil
	}
	return fmt.Errorf("%s", t.Kind())
}
