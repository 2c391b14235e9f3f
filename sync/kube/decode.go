package kube

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
)

// The kinds that are read.
const (
	kindService       = "Service"
	kindEndpointSlice = "EndpointSlice"
	kindNode          = "Node"
)

// objectKey names an object of the manifests.
type objectKey struct {
	kind, namespace, name string
}

func (k objectKey) String() string {
	if k.namespace == "" {
		return k.kind + " " + k.name
	}
	return k.kind + " " + k.namespace + "/" + k.name
}

// object is a *corev1.Service, *discoveryv1.EndpointSlice or *corev1.Node and where it stands.
type object struct {
	key   objectKey
	where string
	value metav1.Object
}

// fault is something wrong with a document. A fatal one means that an object of it cannot be used.
type fault struct {
	// object is the one that it is about, zero where that cannot be told; where is its place.
	object         objectKey
	where, message string
	fatal          bool
}

// decoded is what a file says.
type decoded struct {
	objects []object
	faults  []fault
	// documents is the number of documents with content, of whatever kind.
	documents int
}

// broken reports whether the file says something that could not be read.
func (d *decoded) broken() bool {
	for _, f := range d.faults {
		if f.fatal {
			return true
		}
	}
	return false
}

// decode reads the Services, EndpointSlices and Nodes of a file, name for people. Other kinds are passed over. A
// document that cannot be read does not keep the others from being read.
func decode(name string, data []byte) decoded {
	var d decoded
	for i, document := range splitDocuments(data) {
		d.documents++
		where := fmt.Sprintf("%s document %d (line %d)", name, i+1, document.line)
		raw, duplicate, err := document.toJSON()
		if err != nil {
			d.fatal(where, err)
			continue
		}
		kind, ours, err := kindOf(raw, metav1.TypeMeta{})
		switch {
		case err != nil:
			d.fatal(where, err)
		case ours:
			if duplicate != nil {
				d.warn(objectKey{}, where, duplicate)
			}
			d.decodeDocument(where, raw, kind)
		}
	}
	return d
}

func (d *decoded) fatal(where string, err error) {
	d.refuse(objectKey{}, where, err)
}

// refuse reports an object that cannot be used.
func (d *decoded) refuse(key objectKey, where string, err error) {
	d.faults = append(d.faults, fault{key, where, err.Error(), true})
}

func (d *decoded) warn(key objectKey, where string, err error) {
	d.faults = append(d.faults, fault{key, where, err.Error() + "; the rest of the object is used", false})
}

// decodeDocument reads one object or a list of them.
func (d *decoded) decodeDocument(where string, raw []byte, kind string) {
	itemKind, isList := strings.CutSuffix(kind, "List")
	if !isList {
		d.decodeObject(where, raw, kind)
		return
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &list); err != nil {
		d.fatal(where, err)
		return
	}
	// The items of a ServiceList may leave their kind out, as those that the API server writes do.
	var implied metav1.TypeMeta
	if itemKind != "" {
		implied = metav1.TypeMeta{Kind: itemKind, APIVersion: apiVersion(itemKind)}
	}
	for i, item := range list.Items {
		where := fmt.Sprintf("%s item %d", where, i+1)
		kind, ours, err := kindOf(item, implied)
		switch {
		case err != nil:
			d.fatal(where, err)
		case strings.HasSuffix(kind, "List"):
			d.fatal(where, errors.New("a list within a list is not read"))
		case ours:
			d.decodeObject(where, item, kind)
		}
	}
}

// decodeObject reads what the API server would read, field names case-sensitive and numbers not strings.
func (d *decoded) decodeObject(where string, raw []byte, kind string) {
	var value metav1.Object
	switch kind {
	case kindService:
		value = &corev1.Service{}
	case kindEndpointSlice:
		value = &discoveryv1.EndpointSlice{}
	case kindNode:
		value = &corev1.Node{}
	}
	key := keyOf(kind, raw)
	strict, err := kjson.UnmarshalStrict(raw, value)
	if err != nil {
		d.refuse(key, where, mistyped(raw, err))
		return
	}
	if key.name == "" {
		d.fatal(where, fmt.Errorf("%s without metadata.name", kind))
		return
	}
	value.SetNamespace(key.namespace)
	for _, err := range strict {
		switch meant := misspelt(err.Error(), value); {
		case kind == kindService && (meant == "metadata.annotations" || meant == "spec.loadBalancerSourceRanges"):
			d.refuse(key, where, fmt.Errorf("%w is taken for %s, which may restrict who reaches the Service", err, meant))
			return
		case meant != "":
			err = fmt.Errorf("%w (did you mean %s?)", err, meant)
		}
		d.warn(key, where, err)
	}
	d.objects = append(d.objects, object{key, where, value})
}

// keyOf names an object whatever else is wrong with it. The name is "" where that cannot be read.
func keyOf(kind string, raw []byte) objectKey {
	var named struct {
		Metadata struct {
			Name      any `json:"name"`
			Namespace any `json:"namespace"`
		} `json:"metadata"`
	}
	_ = kjson.UnmarshalCaseSensitivePreserveInts(raw, &named) // what is wrong is said by whoever reads all of it
	key := objectKey{kind: kind}
	key.name, _ = named.Metadata.Name.(string)
	if kind != kindNode {
		key.namespace, _ = named.Metadata.Namespace.(string)
		key.namespace = cmp.Or(key.namespace, metav1.NamespaceDefault)
	}
	return key
}

// kindOf is the kind of raw, and whether we read it. implied holds for what raw leaves out.
func kindOf(raw []byte, implied metav1.TypeMeta) (kind string, ours bool, err error) {
	meta := implied
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &meta); err != nil {
		return "", false, errors.New("not a Kubernetes object")
	}
	if meta.Kind == "" {
		return "", false, errors.New("not a Kubernetes object: it has no kind")
	}
	item, _ := strings.CutSuffix(meta.Kind, "List")
	want := apiVersion(item)
	if want == "" {
		return meta.Kind, false, nearKind(meta)
	}
	// A Service of another group (Knative has one) is no business of ours; one that nearly says the right thing is a slip.
	group, _, _ := strings.Cut(meta.APIVersion, "/")
	wantGroup, _, _ := strings.Cut(want, "/")
	switch {
	case meta.APIVersion == want:
		return meta.Kind, true, nil
	case group == wantGroup, !strings.Contains(meta.APIVersion, "/"):
		return "", false, fmt.Errorf("%s of apiVersion %q is not read; write apiVersion: %s", meta.Kind, meta.APIVersion, want)
	}
	return meta.Kind, false, nil
}

// nearKind says what a kind that there is not was probably meant to be: one letter of it is wrong, or its capitals are.
func nearKind(meta metav1.TypeMeta) error {
	for _, kind := range []string{kindService, kindEndpointSlice, kindNode} {
		if meta.APIVersion == apiVersion(kind) && edits(strings.ToLower(meta.Kind), strings.ToLower(kind)) <= 1 {
			return fmt.Errorf("kind %q is not read; write kind: %s", meta.Kind, kind)
		}
	}
	return nil
}

// apiVersion is the one in which a kind is read; "" is for the kinds that are not.
func apiVersion(kind string) string {
	switch kind {
	case kindService, kindNode, "": // "" is what is left of a plain List.
		return "v1"
	case kindEndpointSlice:
		return "discovery.k8s.io/v1"
	}
	return ""
}
