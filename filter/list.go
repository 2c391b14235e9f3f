package filter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/knftables"
)

// listing is all that the table has at one moment.
type listing struct {
	present  bool
	rules    []*knftables.Rule // their chains and comments, in order
	chains   []string
	elements map[string][]*knftables.Element
	// types has the containers that exist, "set" or "map" by name.
	types map[string]string
}

// lister reads the table. One that is missing is no error.
type lister func(ctx context.Context) (listing, error)

// listByNft runs nft once: 0.36 s in an emulated guest, where knftables, which runs it for each set and map, took 5.2 s.
// It takes over what dump.go does not understand.
// And it is one moment: nobody writes in between.
func listByNft(ctx context.Context) (listing, error) {
	out, err := run(ctx, nil, "--json", "list", "table", string(Family), Name)
	if err != nil {
		err = newNftError(ctx, err)
		if ctx.Err() == nil && isMissing(err) {
			return listing{}, nil
		}
		return listing{}, err
	}
	return parseListing(out)
}

// parseListing reads nft's JSON (libnftables-json(5)).
func parseListing(text []byte) (listing, error) {
	var document struct {
		Nftables []struct {
			Metainfo *struct{ Version string }
			Chain    *struct{ Name string }
			Rule     *struct {
				Chain   string
				Comment *string
			}
			Set, Map *struct {
				Name string
				Elem []any
			}
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		return listing{}, fmt.Errorf("reading what nft printed: %w", err)
	}
	l := listing{present: true, elements: map[string][]*knftables.Element{}, types: map[string]string{}}
	for _, object := range document.Nftables {
		switch {
		case object.Metainfo != nil:
			if v := object.Metainfo.Version; strings.HasPrefix(v, "0.") || v == "1.0.0" {
				return listing{}, fmt.Errorf("nft is version %s: 1.0.1 or later is needed", v)
			}
		case object.Chain != nil:
			l.chains = append(l.chains, object.Chain.Name)
		case object.Rule != nil:
			l.rules = append(l.rules, &knftables.Rule{Chain: object.Rule.Chain, Comment: object.Rule.Comment})
		case object.Set != nil:
			l.types[object.Set.Name] = "set"
			for _, e := range object.Set.Elem {
				l.add(object.Set.Name, &knftables.Element{Key: words(e)})
			}
		case object.Map != nil:
			l.types[object.Map.Name] = "map"
			for _, e := range object.Map.Elem {
				element := &knftables.Element{}
				if pair, ok := e.([]any); ok && len(pair) == 2 {
					element.Key, element.Value = words(pair[0]), words(pair[1])
				}
				l.add(object.Map.Name, element)
			}
		}
	}
	return l, nil
}

func (l listing) add(container string, e *knftables.Element) {
	l.elements[container] = append(l.elements[container], e)
}

// words are the parts of an expression as nft's own language has them: an address, a port, 10.0.0.0/8, "goto CHAIN".
// Of what no agent writes they are something that no agent reads either.
func words(expression any) []string {
	object, ok := expression.(map[string]any)
	if !ok {
		return []string{fmt.Sprint(expression)}
	}
	for verb, of := range object {
		switch inner, _ := of.(map[string]any); {
		case verb == "concat":
			var all []string
			parts, _ := of.([]any)
			for _, part := range parts {
				all = append(all, words(part)...)
			}
			return all
		case verb == "elem" && inner != nil: // with a comment or a counter
			return words(inner["val"])
		case verb == "prefix" && inner != nil:
			return []string{fmt.Sprintf("%v/%v", inner["addr"], inner["len"])}
		case inner != nil && inner["target"] != nil:
			return []string{fmt.Sprintf("%s %v", verb, inner["target"])}
		case of == nil:
			return []string{verb}
		}
	}
	return []string{fmt.Sprint(expression)}
}

// listBy reads the table through knftables, object by object: for its fake.
func listBy(nft knftables.Interface) lister {
	return func(ctx context.Context) (listing, error) {
		objects, err := nft.ListAll(ctx)
		if knftables.IsNotFound(err) {
			return listing{}, nil
		}
		if err != nil {
			return listing{}, newNftError(ctx, err)
		}
		l := listing{
			present: true, chains: objects["chain"], elements: map[string][]*knftables.Element{}, types: map[string]string{},
		}
		if l.rules, err = nft.ListRules(ctx, ""); err != nil {
			return listing{}, newNftError(ctx, err)
		}
		for _, kind := range []string{"set", "map"} {
			for _, name := range objects[kind] {
				l.types[name] = kind
				elements, err := nft.ListElements(ctx, kind, name)
				if err != nil {
					return listing{}, newNftError(ctx, err)
				}
				l.elements[name] = elements
			}
		}
		return l, nil
	}
}
