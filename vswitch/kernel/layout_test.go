package kernel

import (
	"bytes"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"sluice/firewall"
)

// TestLayout: what programs and Go share looks the same to both. What C calls is_so, Go calls isSo.
func TestLayout(t *testing.T) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	entry, bucket := firewall.FlowLayout()
	for name, ours := range map[string]reflect.Type{
		"entry": entry, "bucket": bucket, "way": reflect.TypeFor[way](), "port": reflect.TypeFor[port](),
		"settings": reflect.TypeFor[settings](), "walk": reflect.TypeFor[walking](), "counters": reflect.TypeFor[counters](),
	} {
		var theirs *btf.Struct
		if err := spec.Types.TypeByName(name, &theirs); err != nil {
			t.Fatal(err)
		}
		if int(theirs.Size) != int(ours.Size()) {
			t.Errorf("%s has %d bytes in C, and %d in Go", name, theirs.Size, ours.Size())
		}
		var got, want []string
		for _, m := range theirs.Members {
			if m.Name != "spare" {
				got = append(got, place(m.Name, uintptr(m.Offset.Bytes())))
			}
		}
		want = append(want, placesOf(ours, 0)...)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s in C:\n%s\nin Go:\n%s", name, strings.Join(got, " "), strings.Join(want, " "))
		}
	}
}

// placesOf are the fields of a structure with their offsets; what is embedded counts as its own fields, but for the
// one that C has a structure for.
func placesOf(s reflect.Type, from uintptr) (out []string) {
	for f := range s.Fields() {
		switch {
		case f.Name == "_":
		case f.Name == "flowID":
			out = append(out, place("id", from+f.Offset))
		case f.Anonymous:
			out = append(out, placesOf(f.Type, from+f.Offset)...)
		default:
			out = append(out, place(f.Name, from+f.Offset))
		}
	}
	return out
}

func place(name string, offset uintptr) string {
	return strings.ToLower(strings.ReplaceAll(name, "_", "")) + "@" + strconv.Itoa(int(offset))
}
