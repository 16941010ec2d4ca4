package state_test

import (
	"context"
	"fmt"

	"github.com/pgpatron/pgpatron/state"
)

// greeter gives every leader that it sees a public port.
type greeter struct {
	leaders *state.Table[string]
	ports   *state.Table[int]
}

func (g *greeter) Tick(context.Context, state.Tick) ([]state.Group, error) {
	var groups []state.Group
	for params := range g.leaders.Changed() {
		id := params[0]
		if _, led := g.leaders.Get(id); !led {
			continue
		}
		groups = append(groups, state.Group{Name: "allocate", Apply: func(tx *state.Tx) error {
			_, err := state.Ports{First: 30000, Last: 30999}.Allocate(tx, id)
			return err
		}})
	}
	if g.ports.Len() == 1 {
		return nil, state.ErrFinished
	}
	return groups, nil
}

func Example() {
	ctx := context.Background()
	client, stop := exampleEtcd(ctx)
	defer stop()
	if _, err := client.Put(ctx, state.LeaderKey("f1"), "n1"); err != nil {
		fmt.Println(err)
	}

	schema := state.NewSchema()
	schema.Watch("/routing/") // written without a table of its own
	reactor := &greeter{
		leaders: state.Register(schema, state.LeaderPattern, state.Text),
		ports:   state.Register(schema, state.AllocationPattern, state.Integer),
	}
	engine, err := state.NewEngine(state.EngineConfig{Client: client, Schema: schema, Reactor: reactor, Name: "example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := engine.Run(ctx); err != nil {
		fmt.Println(err)
	}
	port, _ := reactor.ports.Get("f1")
	fmt.Println("f1 is reached at port", port.Value)
	// Output: f1 is reached at port 30000
}
