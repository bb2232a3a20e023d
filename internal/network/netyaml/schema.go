package netyaml

import (
	"encoding"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// Schema is the JSON Schema of the files that Read reads into a value of the
// type of into, for editors and other programs. Keys and kinds are those of
// the very types, as the reader walks them; what a value may be beside its
// kind, and what goes with what, only the check knows.
func Schema(title string, into any) ([]byte, error) {
	root := schemaOf(reflect.TypeOf(into))
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = title
	b, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write schema of %s: %w", title, err)
	}
	return append(b, '\n'), nil
}

type object = map[string]any

// words are the closed sets that have a type of their own.
func words(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[network.Kind]():
		return []string{string(network.Brique), string(network.Parpaing), string(network.Witness)}
	case reflect.TypeFor[network.Owner]():
		return []string{string(network.OwnerStructure), string(network.OwnerRaoull)}
	case reflect.TypeFor[network.GuestType]():
		return []string{string(network.VM), string(network.CT)}
	case reflect.TypeFor[network.Mode]():
		return []string{string(network.ModeAuto), string(network.ModeAsk), string(network.ModeManual), string(network.ModeNever)}
	case reflect.TypeFor[network.Consent]():
		return []string{string(network.ConsentAllowed), string(network.ConsentEncryptedBackupOnly), string(network.ConsentForbidden)}
	}
	return nil
}

// form is an example of a text that has a form of its own.
func form(t reflect.Type) (example string) {
	switch t {
	case reflect.TypeFor[network.Duration]():
		return "5m"
	case reflect.TypeFor[network.Bytes]():
		return "8GiB"
	case reflect.TypeFor[network.IDRange]():
		return "90000-90999"
	case reflect.TypeFor[netip.Addr]():
		return "10.77.1.1"
	case reflect.TypeFor[netip.AddrPort]():
		return "10.77.1.1:9977"
	}
	return ""
}

// schemaOf follows reader.value: the two know the same kinds.
func schemaOf(t reflect.Type) object {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		out := object{"type": "string"}
		if example := form(t); example != "" {
			out["examples"] = []string{example}
		}
		return out
	}
	switch t.Kind() {
	case reflect.Struct:
		return schemaOfStruct(t)
	case reflect.Map:
		return object{"type": "object", "additionalProperties": schemaOf(t.Elem()), "propertyNames": object{"minLength": 1, "maxLength": maxKey}}
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		out := object{"type": "string"}
		if set := words(t); set != nil {
			out["enum"] = set
		}
		return out
	case reflect.Uint16, reflect.Uint32:
		return object{"type": "integer", "minimum": 0, "maximum": 1<<t.Bits() - 1}
	default:
		return object{"type": "integer"}
	}
}

func schemaOfStruct(t reflect.Type) object {
	fields, properties := fieldsOf(t), object{}
	for _, name := range fields.names {
		properties[name] = schemaOf(t.Field(fields.index[name]).Type)
	}
	return object{"type": "object", "properties": properties, "additionalProperties": false}
}
