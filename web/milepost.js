// Generated from web/milepost/ by `node sdks/typescript/bundle.js`. Do not edit.
var p=c=>["completed","failed","cancelled"].includes(c.status);function m(c,t){let[s,e]=t.split("-"),[i,n]=(c??"").split(
"-");return s!==i||!e||!n?NaN:n.length-e.length||(n<e?-1:+(n>e))}function f(c){try{let t=JSON.parse(c);return typeof t=="object"?t:null}catch{return null}}var L=6e5;function x(c,t,s,e){if([1e3,1002,1007,1009].includes(c)||c>=4400&&c<4500)return null;if(c===1011)return 1e3+e*
4e3;let i=c===1012||c===1013?f(t)?.retry_ms:void 0;return i>=0?Math.min(i,L):e*Math.min(3e4,1e3*2**Math.min(s,10))}var N=({
headers:c})=>Math.min(Number(c.get("retry-after"))*1e3*(1+Math.random())||0,L);var w=1e4,z=3,Y=100,X=250,C=0,O=4404,v=4401,H=3*w,K=/^[!#$%&'*+.^`|~\w-]+$/,u=()=>performance.now(),E=class{#t=new Map;#s=0;#o=0;#e=0;#n="\
connecting";#h="";#i;#c=null;#l=-1/0;#a=0;#p=!1;#b=0;#O=0;#d=null;#m=null;#u=!1;#M=0;#f={};constructor(t,s,e){this.base=
t.replace(/^ws/,"http").replace(/\/+$/,""),this.token=s,this.#i=typeof s=="function"?null:s??"",this.notify=e}watch(t,s,e){
this.#j(t),this.#t.set(t,{since:s,pace:e}),this.#r(" rest"),this.#m?this.#R(t):this.#u?this.#_(t):!this.#d&&!this.#f[" r\
etry"]&&this.#w()}unwatch(t){this.#j(t),this.#t.delete(t)&&(this.#y({type:"unsubscribe",job_id:t}),this.#t.size||this.#r(
" rest",100,()=>this.close()))}probe(){if(this.#m)return this.#I(3e3);!this.#f[" retry"]&&!this.#u||(this.#o=this.#e=this.#s=
0,this.#N(),this.#w())}close(){this.#t.clear(),this.#N(),this.#g("connecting")}#w(){if(this.#r(" retry"),!!this.#t.size){
if(this.#i===null)return this.#q();if(!this.#s&&!globalThis.WebSocket&&(this.#s=1),!this.#s)return this.#A();this.#u=!0;
for(let t of this.#t.keys())this.#_(t)}}#$(){if(this.#c)return this.#c;let t;this.#l=u();let s=new Promise((i,n)=>{t=setTimeout(
n,H,new Error("no token came in time"))}),e=this.token;return this.#c=Promise.race([s,Promise.resolve().then(e)]).then(i=>{
this.#i=String(i??"")}).finally(()=>{clearTimeout(t),this.#c=null})}#q(){this.#$().then(()=>this.#d||this.#u||this.#w(),
t=>{console.warn(`milepost: no token: ${t}`),this.#U(x(1006,"",this.#e++,Math.random())??0)})}#F(t){typeof this.token=="\
function"&&this.#r(" token",t*333,()=>{let s=this.#i;this.#$().then(()=>this.#i!==s&&this.#y({type:"auth",token:this.#i}),
()=>{})})}#W(){return typeof this.token!="function"||(this.#i=null,++this.#a>1)?null:u()-this.#l<5e3?1e3:0}#A(){let t=this.#i??
"",s=K.test(t),e=t&&!s?new URLSearchParams({token:t}):"",i;try{i=new WebSocket(`${this.base.replace(/^http/,"ws")}/ws?${e}`,
s?["milepost",`milepost.bearer.${t}`]:[])}catch(h){return this.#k(4400,String(h))}let n=()=>{this.#r(" greeting"),this.#r(
" blocked"),i.onclose=i.onerror=i.onmessage=null,i.close(),this.#d=this.#m=null},o=(h,r)=>{n(),this.#u?this.#P():this.#k(
h,r)};this.#d=n,this.#h="",this.#r(" greeting",w,()=>o(1006,"")),i.onclose=h=>o(h.code,h.reason),i.onerror=()=>this.#r("\
 blocked",Y,()=>{this.#s=1,o(C,"")}),i.onmessage=h=>{this.#O=u(),this.#r(" dead");let r=f(h.data);if(typeof r?.position==
"string")return this.#S(r);if(this.#L(r?.timestamp),r?.type==="connected"){this.#r(" greeting"),this.#D(),this.#m=i,this.#s=
0,this.#p=!0,this.#a=0,this.#x();for(let a of this.#t.keys())this.#R(a);this.#T()}else r?.type==="subscribed"?this.#v(r.
job_id,r.known):r?.type==="token_expiring"?this.#F(r.in):r?.type==="error"&&this.#B(r)}}#T(){this.#r(" listen",2500,()=>{
u()-this.#O>w&&this.#I(5e3),this.#T()})}#I(t){this.#f[" dead"]||(this.#y({type:"ping"}),this.#r(" dead",t,()=>this.#k(1006,
"")))}#R(t){let s=this.#t.get(t);this.#y({type:"subscribe",job_id:t,since:s?.since,...s?.pace})}#y(t){this.#m?.send(JSON.
stringify(t))}#L(t){let s=Date.parse(t??"")-Date.now();Math.abs(s-this.#b)>=X&&(this.#b=s,this.notify({t:"clock",skew:s}))}#S(t){
let s=this.#t.get(t.job_id);s&&(m(s.since,t.position)>0||(s.since=t.position),this.notify({t:"state",job:t.job_id,state:t}))}#v(t,s){
s===!1&&this.#t.has(t)&&this.notify({t:"unknown",job:t})}#B({problem:t,message:s="",job_id:e=""}){this.#t.has(e)?t==="fo\
rbidden"?this.#E(e,s,4403):/^invalid/.test(t??"")?this.#E(e,s,4400):this.#_(e):this.#h=s}#E(t,s,e){this.unwatch(t),this.
notify({t:"rejected",job:t,reason:s,code:e})}async#_(t){let s=this.#t.get(t);if(s)for(;;){let e=s.stop=new AbortController,
i=h=>this.#r(t,h,()=>e.abort()),n=this.#M<z;this.#M+=Number(n);let o=0;try{i(2*w),n&&this.#s===1&&!s.ended?await this.#J(
t,s,e.signal,i):o=await this.#z(t,s,e.signal,n)}catch(h){let{code:r,reason:a=""}=h;if(s.stop!==e)return;if([4400,4403].includes(
r)||r===v&&typeof this.token!="function")return this.#E(t,a,r);if(!this.#m)return this.#k(r,a);o=Math.max(5e3,f(a)?.retry_ms||
0)}finally{this.#M-=Number(n)}if(s.stop!==e)return;await new Promise(h=>this.#r(t,o,()=>h(null)))}}#j(t){let s=this.#t.get(
t);this.#r(t),s?.stop?.abort(),s&&(s.stop=void 0)}async#C(t,s,e={}){let i=this.#i;i&&(e.authorization=`Bearer ${i}`);let n=i?
"manual":"follow",o=await fetch(`${this.base}/jobs/${t}`,{headers:e,signal:s,redirect:n,cache:"no-store"}),{ok:h,status:r}=o;
if(i&&(o.type==="opaqueredirect"||o.headers.has("location")))throw{code:O,reason:`${this.base} redirects; a token is sen\
t to the server itself only`};if(this.#G(o),this.#b||this.#L(o.headers.get("date")),h||r===304||r===404)return this.#a=0,
o;let a=N(o);if(a)throw{code:1013,reason:`{"retry_ms":${a}}`};let l=f(await o.text())?.detail;throw{code:[400,401,403].includes(
r)?4e3+r:1006,reason:l}}#G({ok:t,status:s,url:e,headers:i}){let n=i.get("content-type")??"";if(this.#p||=(t?/json|event-stream/:
/problem.json/).test(n)||s===204||s===304,!(this.#p||!(t||s===404)))throw{code:O,reason:`no Milepost server at ${this.base}\
: ${e} answered ${s} ${n}`.trim()}}async#J(t,s,e,i){let n=Object.entries({since:s.since,...s.pace}).filter(([,j])=>j),o=`${encodeURIComponent(
t)}/events?${new URLSearchParams(n)}`,{body:h,status:r}=await this.#C(o,e);if(s.ended=r===204,s.ended)return;if(r===404||
!h)throw{};let a=h.pipeThrough(new TextDecoderStream).getReader(),[l,d,T,I]=["","",2*w,u()];for(;!s.ended;){let{done:j,value:B}=await a.
read();if(e.aborted||j||l.length>1e7)throw{code:1012,reason:d};let R=(l+B).split(`

`);l=R.pop()??"";for(let G of R){this.#x();let b=Object.fromEntries(G.split(`
`).map(J=>J.split(/: ?(.*)/))),S=f(b.data);if(b.retry&&(d=`{"retry_ms":${b.retry}}`),!S)T=Math.max(5e3,u()-I);else if(b.
event==="end")s.ended=!0;else{if(b.event==="unauthenticated")throw{code:v,reason:S.detail};b.event?this.#v(t,S.known):this.#S(
S)}}I=u(),i(3*T)}}async#z(t,s,e,i){let n=u(),o=i&&this.#n==="open"?15:0,h=`${encodeURIComponent(t)}?wait=${o}`,r=await this.#C(
h,e,s.since?{"if-none-match":`"${s.since}"`}:{}),{status:a}=r,l=a===200&&await r.json();this.#u&&this.#x(),a===404&&this.#v(
t,!1),l&&(s.ended=p(l),this.#S(l));let d=i?1e3/(s.pace.max_rate??2):Math.max(2e3,100*this.#t.size);return Math.max(d+n-u(),
N(r))}#x(){this.#o=0,this.#g("open"),this.#f[" stable"]||this.#r(" stable",5e3,()=>this.#e=0),this.#u&&this.#P()}#P(){this.#f["\
 climb"]||this.#d||!globalThis.WebSocket||this.#r(" climb",3*w,()=>this.#A())}#k(t,s){let e=this.#n!=="open";if(this.#N(),
t===C)return this.#w();e&&t!==v&&++this.#o===2&&(this.#o=0,this.#s=(this.#s+1)%3);let i=t===v?this.#W():x(t,s,this.#e,Math.
random());if(this.#e+=1,t===O)return this.#g("failed",s,t);if(i===null)return this.#g("closed",this.#h||s,t);this.#U(i)}#U(t){
this.#g("connecting"),this.#r(" retry",t,()=>this.#w())}#N(){for(let t of Object.keys(this.#f))this.#r(t);this.#d?.(),this.#D()}#D(){
this.#u=!1,this.#r(" climb");for(let t of this.#t.keys())this.#j(t)}#r(t,s,e){clearTimeout(this.#f[t]),delete this.#f[t],
e&&(this.#f[t]=setTimeout(()=>{delete this.#f[t],e()},s))}#g(t,s="",e=0){t!==this.#n&&(this.#n=t,this.notify({t:"connect\
ion",connection:t,reason:s,code:e}))}};var g=class{#t=new Map;#s=new Set;#o={t:"connection",connection:"connecting",reason:"",code:0};#e=null;constructor(t,s){
this.session=new E(t,s,e=>this.#c(e))}receive(t,s){s.t==="open"?(this.#s.add(t),t(this.#o),this.#e&&t(this.#e),s.lock&&navigator.
locks.request(s.lock,()=>this.#i(t))):s.t==="watch"?this.#n(t,s):s.t==="unwatch"?this.#h(s.job,s.key):s.t==="probe"?this.
session.probe():this.#i(t)}#n(t,{key:s,job:e,since:i,pace:n}){let o=this.#t.get(e)??{subscribers:new Map,pace:"",last:void 0};
this.#t.set(e,o),o.subscribers.set(s,{port:t,pace:n});let h=V(o.subscribers),r=JSON.stringify(h),{last:a}=o;if(a&&t(a),a?.
t!=="state")this.session.watch(e,o.subscribers.size>1?void 0:i,h);else{let{position:l}=a.state,d=m(i,l)<0;(d||o.pace!==r)&&
this.session.watch(e,d?i:l,h)}o.pace=r}#h(t,s){let e=this.#t.get(t);!e?.subscribers.delete(s)||e.subscribers.size||(this.#t.
delete(t),this.session.unwatch(t))}#i(t){this.#s.delete(t);for(let[s,e]of this.#t)for(let[i,n]of e.subscribers)n.port===
t&&this.#h(s,i)}#c(t){let s=this.#s;if(t.t==="connection")this.#o=t;else if(t.t==="clock")this.#e=t;else{let e=this.#t.get(
t.job);if(!e)return;e.last=t,s=new Set([...e.subscribers.values()].map(i=>i.port)),t.t==="rejected"&&this.#t.delete(t.job)}
for(let e of s)e(t)}};function V(c){let t=[...c.values()].map(e=>e.pace),s=t.map(e=>e.max_rate??1/0);return{mode:t.every(
e=>e.mode==="latest")?"latest":void 0,max_rate:s.includes(1/0)?void 0:Math.max(...s)}}var P="milepost-a943d2dd",U=(c,t)=>JSON.stringify([P,import.meta.url,c,t]);function D(){let c=globalThis,[t,,s,e]=f(c.
name)??[];if(t!==P||!c.SharedWorkerGlobalScope)return;let i=new g(s,e),n=new Promise(o=>{navigator.locks.request(`${c.name}\
 worker`,()=>new Promise(()=>o()))});c.onconnect=({ports:[o]})=>{let h=r=>o.postMessage(r);o.onmessage=({data:r})=>i.receive(
h,r),n.then(()=>h({t:"hello"}))}}var q="document"in globalThis,y=Math.random().toString(36),_=class{#t=new Set;connection="connecting";reason="";code=0;skew=0;#s=null;#o=!1;#e=[];constructor(t,s,e){
if(this.url=t,this.token=s,this.name=U(t,String(s??"")),this.isShared=e&&typeof s!="function"&&q&&navigator.locks,this.#i(),
!!q){for(let i of["visibilitychange","online","offline","pageshow"])addEventListener(i,()=>{if(!document.hidden){this.#o?
this.#i():this.#s?.({t:"probe"});for(let n of this.#t)n.onConnection()}});addEventListener("pagehide",()=>this.#c())}}add(t){
this.#t.add(t),this.#s?.(t.command("watch"))}delete(t){this.#t.delete(t),this.#s?.(t.command("unwatch"))}#n=t=>{if(t.t===
"clock"){this.skew=t.skew;return}t.t==="connection"&&({connection:this.connection,reason:this.reason,code:this.code}=t),
this.connection==="failed"&&t.t==="connection"&&console.warn(`milepost: ${this.reason}`);for(let s of this.#t)t.t==="con\
nection"?s.onConnection():t.job===s.jobId&&s.onMessage(t)};#h(t,s){this.#s=t,t({t:"open",lock:s});for(let e of this.#t)t(
e.command("watch"))}#i(){this.#o=!1;let t=y+this.name;this.isShared?this.#l(t,()=>this.#p(t)):this.#a()}#c(){this.#o=!0,
this.#s?.({t:"bye"}),this.#s=null;for(let t of this.#e.reverse())t();this.#e=[]}#l(t,s){let e=new AbortController,i=new Promise(
n=>{this.#e.push(n,()=>e.abort())});navigator.locks.request(t,{signal:e.signal},()=>(s(),i)).catch(n=>{n.name!=="AbortEr\
ror"&&this.#a()})}#a(){let t=new g(this.url,this.token);return this.#e.push(()=>t.session.close()),this.#h(s=>t.receive(
this.#n,s)),t}#p(t){let s=this.#e;new Promise((i,n)=>{let o=new URL(import.meta.url);if(o.origin!==location.origin||!o.pathname.
endsWith("/milepost.js"))throw o;let h=new SharedWorker(o,{type:"module",name:this.name});h.onerror=n,setTimeout(n,3e3),
h.port.onmessage=({data:r})=>r.t==="hello"?i(h.port):this.#n(r)}).then(i=>{s===this.#e&&(this.#h(n=>i.postMessage(n),t),
this.#l(`${this.name} worker`,()=>{this.#c(),this.#i()}))},()=>s===this.#e&&this.#b(t))}#b(t){let s=new BroadcastChannel(
this.name),e=null,i=new Map;s.onmessage=({data:{from:n,to:o,command:h,message:r}})=>{if(n&&e){let a=i.get(n)??(l=>s.postMessage(
{to:n,message:l}));i.set(n,a),h.t==="bye"&&i.delete(n),e.receive(a,h)}else o===y?this.#n(r):o==="*"&&this.#s&&this.#h(this.#s,
t)},this.#e.push(()=>s.close()),this.#h(n=>s.postMessage({from:y,command:n}),t),this.#l(this.name,()=>{e=this.#a(),s.postMessage(
{to:"*"})})}};var Q=3e4,Z=5e3,tt=3,st=.01,et=3e4,it=.2,$=c=>typeof c=="string"?Date.parse(c):NaN,k=class{#t=null;#s=0;#o={at:0,progress:0};#e={
at:0,progress:0};#n=-1;#h=0;#i=0;#c=0;note(t,s){let e=this.#t;this.#t=t,this.#s=s;let i=typeof t.progress=="number"&&t.status===
"processing"?t.progress:NaN;if((e?.attempt!==t.attempt||!(i>=this.#e.progress))&&(this.#n=-1),isNaN(i))return;if(this.#n<
0)return this.#l(i,s);if(i===this.#e.progress)return;let n=s-this.#e.at,o=Math.max(et,it*(s-this.#o.at)),h=o/(o+n);this.#h=
this.#h*h+i-this.#e.progress,this.#i=this.#i*h+n,this.#c=this.#c*h+1,this.#n+=1,this.#e={at:s,progress:i}}#l(t,s){this.#n=
this.#h=this.#i=this.#c=0,this.#o=this.#e={at:s,progress:t}}get#a(){return this.#t?.status==="processing"}silentFor(t){return this.#a?
Math.max(0,t-($(this.#t?.last_seen_at)||this.#s)):null}standsFor(t){return this.#a?Math.max(0,t-($(this.#t?.progressed_at)||
this.#e.at||this.#s)):null}health(t){let{health:s}=this.#t??{};return!this.#t||p(this.#t)?"ok":s==="ok"||s==="stalled"||
s==="lost"?s:(this.silentFor(t)??0)>Q?"lost":"ok"}rate(t){let{at:s,progress:e}=this.#e;if(!this.#a||this.#n<tt||this.health(
t)!=="ok"||s-this.#o.at<Z||e-this.#o.progress<st)return null;let i=Math.max(0,t-s-2*this.#i/this.#c);return this.#h/(this.#i+
i)*1e3}timeLeft(t){let s=$(this.#t?.eta);if(this.#a&&this.health(t)==="ok"&&s)return s>t?s-t:null;let e=this.rate(t);if(e===
null)return null;let i=(1-this.#e.progress)/e*1e3-(t-this.#e.at);return i>0?i:null}};var nt=0,A=class{state=null;known=null;connection="connecting";error=null;#t=[];#s=[];#o=()=>{};#e=`${y} ${++nt}`;#n=!1;#h=!1;#i=!1;#c="";#l=new k;constructor(t,s,e){
this.jobId=t,this.options=s,this.client=e,this.pace={mode:s.mode,max_rate:s.maxRate},s.since&&this.#t.push(s.since),e.add(
this),this.onConnection(),s.signal?.addEventListener("abort",()=>this.close()),s.signal?.aborted&&this.close()}get position(){
return this.#t.at(-1)}get serverNow(){return Date.now()+this.client.skew}get timeLeft(){return this.connection==="open"?
this.#l.timeLeft(this.serverNow):null}get silentFor(){return this.#l.silentFor(this.serverNow)}get standsFor(){return this.#l.
standsFor(this.serverNow)}get health(){return this.connection==="open"?this.#l.health(this.serverNow):"ok"}close(){this.#n||
(this.#n=!0,this.client.delete(this),this.onConnection(),this.#o())}async*[Symbol.asyncIterator](){try{for(;;){let t=this.#s.
shift();if(t)yield t;else{if(this.error)throw this.error;if(this.#n)return;await new Promise(s=>this.#o=()=>s(void 0))}}}finally{
this.close()}}command(t){return{t,key:this.#e,job:this.jobId,since:this.position,pace:this.pace}}onConnection(){let{connection:t,
reason:s,code:e}=this.client,i=t==="failed";if((i||t==="closed")&&!this.#n)return this.#h=i,this.#a(s,e);let n=t!=="open"&&
globalThis.navigator?.onLine===!1,o=t==="connecting"&&this.#i,h=this.#h?"failed":"closed",r=this.#n?h:n?"offline":o?"rec\
onnecting":t;this.#i||=t==="open",r!==this.connection&&(this.connection=r,M(this.options.onConnection,r))}onMessage(t){this.#n||
(t.t==="rejected"?this.#a(t.reason,t.code):t.t==="state"?this.#p(t.state):this.known!==!1&&(this.known=!1,M(this.options.
onUnknown)))}#a(t,s){this.error=Object.assign(new Error(t||"rejected"),{code:s}),this.close(),M(this.options.onError,this.
error)}#p(t){let{position:s}=t;if(this.#t.some(o=>m(o,s)>=0))return;let e=this.#t.filter(o=>isNaN(m(o,s)));this.#t=[...e.
slice(-3),s],this.state=t,this.#l.note(t,this.serverNow),this.known=!0;let i=this.#s.at(-1);if(i&&!p(i)&&this.#s.pop(),this.#s=
[...this.#s.slice(-8),t],this.#o(),M(this.options.onState,t),!p(t)||this.#n)return;let n=`${t.attempt} ${t.status} ${t.timestamp}`;
n!==this.#c&&M(this.options.onEnd,t),this.#c=n,this.options.follow||this.close()}},F=new Map,ot=c=>new URL(c??"/",globalThis.
location?.href).href;function W(c,t={}){let s=ot(t.url),e=t.share??!0,{token:i}=t,n=`${e} ${s}`,o=F.get(i)??new Map,h=o.
get(n)??new _(s,i,e);return F.set(i,o.set(n,h)),new A(c,t,h)}function M(c,...t){try{c?.(...t)}catch(s){queueMicrotask(()=>{
throw s})}}function rt(c){let t=typeof c=="string"?c.split(/\r?\n|\r/).filter(e=>e.trim()):[],s=(t.filter(e=>!/^\s/.test(e)).at(-1)??
t.at(-1)??"").trim();return s.length>300?`${s.slice(0,300)}…`:s}function It(c,t){return W(c,t)}D();export{k as Outlook,rt as errorSummary,p as isEnd,It as watch};
