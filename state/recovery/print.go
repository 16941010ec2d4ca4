package recovery

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"
)

// Print shows what was found, what will be written, and what is to be decided.
func (p Plan) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "site %s, which becomes era %d; etcd says now that it is of %s\n\n", cmp.Or(p.Site, "?"), p.Era, cmp.Or(p.Before, "none"))
	fmt.Fprintln(w, "BACKEND\tHOST\tVOLUMES")
	for _, h := range p.Hosts {
		fmt.Fprintf(w, "%s\t%s\t%d\n", h.ID, h.Hostname, h.Volumes)
	}
	fmt.Fprintln(w, "\nINSTANCE\tPORT\tREAD-ONLY\tNODES\tRUNNING\tBINDINGS\tCOPY\tWHAT IS DONE")
	for _, in := range p.Instances {
		done := fmt.Sprintf("%d keys are written", len(in.Records))
		if in.There {
			done = "is in etcd already"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\tnode %s on %s, %s\t%s\n", in.ID, port(in.Port), port(in.ReadOnlyPort),
			in.Nodes, in.Running, in.Bindings, in.From.Node, in.From.Backend, age(in.From.Age), done)
	}
	p.printRest(w)
	return w.Flush()
}

func (p Plan) printRest(w io.Writer) {
	fmt.Fprintln(w)
	for _, in := range p.Instances {
		for _, note := range in.Notes {
			fmt.Fprintf(w, "note: instance %s: %s\n", in.ID, note)
		}
	}
	for _, r := range p.Switches {
		fmt.Fprintf(w, "note: %s is set again\n", r.Key)
	}
	for _, note := range p.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	for i, problem := range p.Problems {
		fmt.Fprintf(w, "\nto be decided, %d: %s\n  %s\n", i+1, problem.Text, problem.Way)
	}
}

func port(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
