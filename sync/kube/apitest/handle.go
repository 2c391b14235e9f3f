package apitest

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// freshPatience is how long the server waits for a version that does not exist yet before it says so.
	freshPatience = 3 * time.Second
	// bookmarkPeriod is between two bookmarks.
	bookmarkPeriod = time.Minute
)

// query is what a request asks for.
type query struct {
	resource string
	labels   labels.Selector
	fields   fields.Selector
	watch    bool
	stream   bool
	version  string
	timeout  time.Duration
	// limit is of a page of a list, 0 is none; after is the pageKey of the object that ended the page before.
	limit int
	after string
}

func queryOf(r *http.Request) (query, error) {
	v := r.URL.Query()
	q := query{
		resource: path.Base(r.URL.Path), watch: v.Get("watch") != "", stream: v.Get("sendInitialEvents") == "true",
		version: v.Get("resourceVersion"), after: v.Get("continue"),
	}
	var err error
	if q.labels, err = labels.Parse(v.Get("labelSelector")); err != nil {
		return q, err
	}
	if q.fields, err = fields.ParseSelector(v.Get("fieldSelector")); err != nil {
		return q, err
	}
	seconds, err := strconv.Atoi("0" + v.Get("timeoutSeconds"))
	if err != nil {
		return q, err
	}
	q.timeout = time.Duration(seconds) * time.Second
	if q.version != "0" { // which a watch cache has, and it knows no pages
		q.limit, err = strconv.Atoi("0" + v.Get("limit"))
	}
	return q, err
}

// matches knows the field metadata.name alone: nothing here has another one that is asked for and not equal.
func (q query) matches(name string, l labels.Set) bool {
	if wanted, exact := q.fields.RequiresExactMatch("metadata.name"); exact && wanted != name {
		return false
	}
	return q.labels.Matches(l)
}

func (q query) String() string {
	verb := "list"
	switch {
	case q.stream:
		verb = "stream"
	case q.watch:
		verb = "watch"
	}
	return verb + " " + q.resource
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	q, err := queryOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.asked[q.String()]++
	fault := s.faults[q.resource]
	if fault == nil {
		fault = s.faults[""]
	}
	s.mu.Unlock()
	answer := func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, q) }
	if fault != nil {
		fault(s, w, r, answer)
		return
	}
	answer(w, r)
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, q query) {
	wanted, _ := strconv.ParseUint(q.version, 10, 64)
	if q.stream && !s.canStream() {
		s.status(w, r, metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
			Message: "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
		})
		return
	}
	if (!q.watch || q.stream) && !s.reaches(r.Context(), wanted) {
		w.Header().Set("Retry-After", "1")
		s.status(w, r, metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusGatewayTimeout, Reason: metav1.StatusReasonTimeout,
			Message: fmt.Sprintf("Too large resource version: %d", wanted),
			Details: &metav1.StatusDetails{RetryAfterSeconds: 1, Causes: []metav1.StatusCause{{
				Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version",
			}}},
		})
		return
	}
	if !q.watch {
		s.list(w, r, q)
		return
	}
	stream, err := s.newStream(w, r)
	if err == nil {
		err = stream.run(q, wanted)
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (s *Server) canStream() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams
}

// reaches reports whether the server has the version, now or in a while.
func (s *Server) reaches(ctx context.Context, version uint64) bool {
	for _, patience := range []time.Duration{0, freshPatience} {
		select {
		case <-time.After(patience):
		case <-ctx.Done():
		}
		s.mu.Lock()
		now := s.version
		s.mu.Unlock()
		if version <= now {
			return true
		}
	}
	return false
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, q query) {
	s.mu.Lock()
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatUint(s.version, 10)}
	found := s.selected(q)
	s.mu.Unlock()
	found, meta.Continue = q.page(found)
	var list runtime.Object
	switch q.resource {
	case Services:
		list = &corev1.ServiceList{ListMeta: meta, Items: items[corev1.Service](found)}
	case EndpointSlices:
		list = &discoveryv1.EndpointSliceList{ListMeta: meta, Items: items[discoveryv1.EndpointSlice](found)}
	case Nodes:
		list = &corev1.NodeList{ListMeta: meta, Items: items[corev1.Node](found)}
	default:
		http.NotFound(w, r)
		return
	}
	s.write(w, r, http.StatusOK, list)
}

// page is what a list has of all that there is now, which may be other than at the page before, and the token for the next page if there is
// one.
func (q query) page(all []Object) (found []Object, next string) {
	found = slices.DeleteFunc(all, func(o Object) bool { return q.after != "" && pageKey(o) <= q.after })
	if q.limit == 0 || len(found) <= q.limit {
		return found, ""
	}
	return found[:q.limit], pageKey(found[q.limit-1])
}

// pageKey sorts as selected does: a namespace has no "!" or anything before that in it.
func pageKey(o Object) string { return o.GetNamespace() + "!" + o.GetName() }

func items[T any](objects []Object) []T {
	list := []T{}
	for _, o := range objects {
		if t, ok := any(o).(*T); ok {
			list = append(list, *t)
		}
	}
	return list
}

// media is the first type that the client accepts and we know.
func (s *Server) media(r *http.Request) runtime.SerializerInfo {
	known := s.codecs.SupportedMediaTypes()
	for accepted := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		base, _, _ := strings.Cut(strings.TrimSpace(accepted), ";")
		if info, ok := runtime.SerializerInfoForMediaType(known, base); ok && base != "" {
			return info
		}
	}
	info, _ := runtime.SerializerInfoForMediaType(known, runtime.ContentTypeJSON)
	return info
}

func (s *Server) encoder(info runtime.SerializerInfo) runtime.Encoder {
	return s.codecs.EncoderForVersion(info.Serializer, schema.GroupVersions{
		corev1.SchemeGroupVersion, discoveryv1.SchemeGroupVersion,
	})
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, code int, o runtime.Object) {
	info := s.media(r)
	w.Header().Set("Content-Type", info.MediaType)
	w.WriteHeader(code)
	_ = s.encoder(info).Encode(o, w)
}

func (s *Server) status(w http.ResponseWriter, r *http.Request, status metav1.Status) {
	s.write(w, r, int(status.Code), &status)
}
