package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mistyped says in the words of the manifest what the JSON decoder says in those of Go, and where the value stands, which it does not
// say of one in a list or among annotations.
func mistyped(raw []byte, err error) error {
	if wrong, ok := errors.AsType[*time.ParseError](err); ok {
		return fmt.Errorf("%q is no time: write one as 2006-01-02T15:04:05Z", wrong.Value)
	}
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok || wrong.Field == "" {
		return err
	}
	where, value := wrong.Field, any(nil)
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var tree any
	if decoder.Decode(&tree) == nil {
		if path, found, ok := misfit(tree, strings.Split(wrong.Field, "."), wrong); ok {
			where, value = path, found
		}
	}
	where = strings.TrimPrefix(where, ".")
	if value == nil {
		return fmt.Errorf("%s is not %s", where, typeInWords(wrong.Type))
	}
	return fmt.Errorf("%s is %s, where %s is wanted%s", where, valueInWords(value), typeInWords(wrong.Type), quoting(value, wrong.Type))
}

// misfit finds the first value at a path of field names, the elements of lists among them, that is none of the type that is wanted.
func misfit(value any, path []string, wrong *json.UnmarshalTypeError) (where string, found any, ok bool) {
	want := wrong.Type
	if list, isList := value.([]any); isList && (len(path) > 0 || wrong.Value != "array") {
		for i, element := range list {
			if where, found, ok := misfit(element, path, wrong); ok {
				return fmt.Sprintf("[%d]%s", i, where), found, true
			}
		}
		if len(path) > 0 {
			return "", nil, false
		}
	}
	fields, isMapping := value.(map[string]any)
	if len(path) > 0 {
		where, found, ok = misfit(fields[path[0]], path[1:], wrong)
		return "." + path[0] + where, found, ok && isMapping
	}
	if isMapping && want.Kind() == reflect.String { // such as annotations
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			if !fits(fields[key], want) {
				return "[" + strconv.Quote(key) + "]", fields[key], true
			}
		}
	}
	return "", value, !fits(value, want)
}

// fits reports whether a value of JSON is one of a type; nothing is one of every type.
func fits(value any, want reflect.Type) bool {
	var ok bool
	switch kind := want.Kind(); {
	case value == nil:
		return true
	case kind == reflect.String:
		_, ok = value.(string)
	case kind == reflect.Bool:
		_, ok = value.(bool)
	case want.ConvertibleTo(reflect.TypeFor[int64]()):
		number, isNumber := value.(json.Number)
		_, err := strconv.ParseInt(string(number), 10, want.Bits())
		ok = isNumber && err == nil
	case kind == reflect.Slice:
		_, ok = value.([]any)
	default:
		_, ok = value.(map[string]any)
	}
	return ok
}

func typeInWords(t reflect.Type) string {
	switch kind := t.Kind(); {
	case kind == reflect.String:
		return "a text"
	case kind == reflect.Bool:
		return "true or false"
	case t.ConvertibleTo(reflect.TypeFor[int64]()):
		return fmt.Sprintf("a whole number of %d bits", t.Bits())
	case kind == reflect.Slice:
		return "a list"
	}
	return "a mapping"
}

func valueInWords(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("the text %q", clip(v, maxWhy))
	case json.Number:
		return "the number " + clip(string(v), maxWhy)
	case bool:
		return fmt.Sprintf("the truth value %v", v)
	case []any:
		return "a list"
	}
	return "a mapping"
}

// quoting is what mends a value that has quotes or lacks them.
func quoting(value any, want reflect.Type) string {
	if text, isText := value.(string); isText {
		if fits(json.Number(text), want) || want.Kind() == reflect.Bool && (text == "true" || text == "false") {
			return ": write it without quotes"
		}
		return ""
	}
	if want.Kind() != reflect.String {
		return ""
	}
	switch value.(type) {
	case json.Number:
		return ": write it in quotes"
	case bool:
		return ": write it in quotes (YAML takes y, yes, on, n, no and off for truth values too)"
	}
	return ""
}

// misspelt is the field that an unknown one was probably meant to be, by its path, such as spec.ports[0].nodePort; "" if none is
// near. The message is the strict decoder's.
func misspelt(message string, object any) (meant string) {
	path, _ := strings.CutPrefix(message, "unknown field ")
	path, err := strconv.Unquote(path)
	if err != nil {
		return ""
	}
	t := reflect.TypeOf(object)
	names := strings.Split(path, ".")
	for i, name := range names {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return ""
		}
		fields := fieldsOf(t)
		name, index, _ := strings.Cut(name, "[")
		if next, known := fields[name]; known {
			t = next
			continue
		}
		near := nearest(name, slices.Sorted(maps.Keys(fields)))
		if i < len(names)-1 || near == "" || index != "" {
			return ""
		}
		return strings.Join(append(names[:i:i], near), ".")
	}
	return ""
}

// fieldsOf are the fields of a struct by their names in JSON, those of what it embeds among them.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		switch name, _, _ := strings.Cut(f.Tag.Get("json"), ","); {
		case name != "" && name != "-":
			fields[name] = f.Type
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			maps.Copy(fields, fieldsOf(f.Type))
		}
	}
	return fields
}
