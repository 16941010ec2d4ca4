package registrar

import (
	"context"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/events"
)

// event is something that happened to a container of ours.
type event struct {
	action   string
	id       string
	node     string
	at       time.Time
	exitCode int
}

// The events that count. Others ask for nothing.
const (
	eventDie     = string(events.ActionDie)
	eventStart   = string(events.ActionStart)
	eventDestroy = string(events.ActionDestroy)
)

// subscribe asks for events from now on, until ctx ends.
func (d *docker) subscribe(ctx context.Context) (<-chan events.Message, <-chan error) {
	wanted := d.owner.filter()
	wanted.Add("type", string(events.ContainerEventType))
	for _, action := range []string{eventDie, eventStart, eventDestroy} {
		wanted.Add("event", action)
	}
	return d.client.Events(ctx, events.ListOptions{Filters: wanted})
}

func eventOf(m events.Message) event {
	e := event{action: string(m.Action), id: m.Actor.ID, node: m.Actor.Attributes[labelNode], at: time.Unix(0, m.TimeNano)}
	e.exitCode, _ = strconv.Atoi(m.Actor.Attributes["exitCode"])
	return e
}
