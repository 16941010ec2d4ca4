package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Act is what an operator says of what he does.
type Act struct {
	// By is who does it: the login and, in brackets, the name that its user gave
	// himself. A client only gives the name.
	By string
	// Reason is why, in his own words.
	Reason string
	// Force passes by the refusal that protects the last one of its kind.
	Force bool
}

// maxWords bounds a reason and a name.
const maxWords = 500

// readAct reads what the operator says of what he does; the login is known.
func readAct(r *http.Request) (Act, error) {
	username, _, _ := r.BasicAuth()
	q := r.URL.Query()
	act := Act{By: username, Reason: q.Get("reason")}
	if name := q.Get("by"); name != "" {
		act.By += " (" + name + ")"
	}
	for _, p := range []string{"by", "reason"} {
		if err := checkWords(p, q.Get(p)); err != nil {
			return act, err
		}
	}
	var err error
	act.Force, err = flag(r, "force")
	return act, err
}

// checkWords refuses what would not be read as it was meant in a table or a log.
func checkWords(name, words string) error {
	if len(words) > maxWords {
		return Errorf(http.StatusBadRequest, "%s: must not be longer than %d bytes, has %d", name, maxWords, len(words))
	}
	for _, r := range words {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return Errorf(http.StatusBadRequest, "%s: must be one line of UTF-8", name)
		}
	}
	return nil
}

// flag reads a parameter that is true or false; false without it.
func flag(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, Errorf(http.StatusBadRequest, "%s: must be true or false, got %q", name, text)
	}
	return value, nil
}

func (a Act) query() string {
	q := url.Values{}
	for name, value := range map[string]string{"by": a.By, "reason": a.Reason} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if a.Force {
		q.Set("force", "true")
	}
	return question(q)
}

// acting answers with what became of that which has an id.
func acting[T any](do func(ctx context.Context, id string, act Act) (T, error)) answer {
	return func(ctx context.Context, r *http.Request) (any, error) {
		act, err := readAct(r)
		if err != nil {
			return nil, err
		}
		return do(ctx, id(r), act)
	}
}
