package users

import (
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// prefix returns all keys that begin as the pattern does before its first brace.
func prefix(pattern string) Range {
	begin, _, _ := strings.Cut(pattern, "{")
	return Range{Key: begin, End: clientv3.GetPrefixRangeEnd(begin)}
}

// span returns all keys from the beginning of one range to the end of another.
func span(first, last Range) Range { return Range{Key: first.Key, End: last.End} }

// unreserved returns all keys that are below no reserved prefix.
func unreserved() []Range {
	var out []Range
	begin := "/"
	for _, p := range state.ReservedPrefixes() {
		out = append(out, Range{Key: begin, End: p})
		begin = prefix(p).End
	}
	return append(out, Range{Key: begin, End: prefix("/").End})
}
