package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/docs/detections"
)

// detectionPage is what is known about a detection, for programs.
type detectionPage struct {
	Code       string   `json:"code"`
	Name       string   `json:"name"`
	Short      string   `json:"short"`
	Help       string   `json:"help"`
	BenignIf   string   `json:"benign_if"`
	Frameworks []string `json:"frameworks"`
	// Page is Markdown.
	Page string `json:"page"`
}

// explainDetection shows the page of a detection.
func (a *app) explainDetection(name string) error {
	d, err := detectionNamed(name)
	if err != nil {
		return err
	}
	page, ok := detections.Page(d.Name)
	if !ok {
		page = fmt.Sprintf("# %s %s\n\n**What.** %s\n\n%s\n", d.Code, d.Name, d.Short, d.Help)
	}
	if a.settings.output == "json" {
		return output.Document(a.env.Stdout, detectionPage{d.Code, d.Name, d.Short, d.Help, d.BenignIf, d.Frameworks, page})
	}
	_, err = fmt.Fprint(a.env.Stdout, page)
	return err
}

// detectionNamed finds a detection by its name or code.
func detectionNamed(name string) (rule.Detection, error) {
	var known []string
	for _, d := range rule.Detections() {
		if d.Name == name || strings.EqualFold(d.Code, name) {
			return d, nil
		}
		known = append(known, d.Name)
	}
	text := fmt.Sprintf("there is no detection %q", name)
	if near := nearest(name, known); near != "" {
		return rule.Detection{}, usage(text, "did you mean "+near+"?")
	}
	return rule.Detection{}, usage(text, "there are "+strings.Join(known, ", "))
}

// explainArgs wants one finding, or a detection and no finding.
func explainArgs(cmd *cobra.Command, args []string) error {
	asked := cmd.Flags().Changed("detection")
	switch {
	case asked && len(args) > 0:
		return usage("explain takes a finding or --detection, not both")
	case asked:
		return nil
	}
	return oneArgument("explain takes one finding", "scopedrift findings lists them; --detection NAME explains a detection")(cmd, args)
}

// completeDetections offers the names of detections to the shell.
func completeDetections(*cobra.Command, []string, string) (words []string, _ cobra.ShellCompDirective) {
	for _, d := range rule.Detections() {
		words = append(words, d.Name+"\t"+d.Code+" "+output.Safe(d.Short))
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
