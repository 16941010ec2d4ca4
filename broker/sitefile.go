package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// siteInterval is how often it is looked which site this is.
const siteInterval = 2 * time.Second

// siteFile is where a broker keeps the id of its site. One that is started over an
// etcd that was emptied, or over another site's, knows by it that this is not its own.
// Empty: nothing is kept.
type siteFile string

// read returns the id, "" if there is none yet.
func (f siteFile) read() (string, error) {
	if f == "" {
		return "", nil
	}
	b, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("broker.site_file: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// write keeps an id. A file that is cut short is never there.
func (f siteFile) write(site string) error {
	scratch := string(f) + ".new"
	if err := os.WriteFile(scratch, []byte(site+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(scratch, string(f))
}

// keepSite writes down which site this is as soon as that is known, and again when a
// recovery has made it another, until ctx ends.
func (b *Broker) keepSite(ctx context.Context) error {
	file := siteFile(b.cfg.SiteFile)
	kept, err := file.read()
	if file == "" || err != nil {
		return err
	}
	tick := time.NewTicker(siteInterval)
	defer tick.Stop()
	for {
		if site := b.engine.Site(); site != "" && site != kept {
			if err := file.write(site); err != nil {
				b.log.WarnContext(ctx, "keeping which site this is, will retry", "err", err)
			} else {
				kept = site
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
